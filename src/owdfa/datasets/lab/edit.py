"""Edit: one region of a real picture drawn anew with a changed attribute.

Traces: the decoder's pattern within that region and a soft rim; no camera noise of its own there.
"""

from dataclasses import dataclass, replace

import numpy as np

from owdfa.datasets.lab.decoder import Decoder, decode, draw_decoder
from owdfa.datasets.lab.filters import Pixels, blur
from owdfa.datasets.lab.people import draw_frame, draw_person
from owdfa.datasets.lab.shot import Shot, blend, soft_mask

# x and y of the centre, half width, half height, in half face heights on the face's surface
_REGIONS = (
    (0.0, 0.0, 0.62, 0.30),  # eyes and brows
    (0.0, 0.58, 0.46, 0.30),  # mouth
    (0.0, 0.66, 0.60, 0.42),  # mouth and chin
    (0.0, 0.12, 0.34, 0.46),  # nose and between the eyes
    (0.0, -0.62, 0.80, 0.42),  # forehead and hair
    (0.0, 0.25, 0.56, 0.62),  # all features
)


@dataclass(frozen=True)
class Edit:
    """A method that edits attributes. Lengths are in half face heights."""

    decoder: Decoder
    region: tuple[float, float, float, float]
    feather: float


def draw_method(rng: np.random.Generator) -> Edit:
    """Draw a method."""
    x, y, width, height = _REGIONS[int(rng.integers(len(_REGIONS)))]
    grow = rng.uniform(0.9, 1.15, 2)
    return Edit(
        decoder=draw_decoder(rng),
        region=(x, y, width * float(grow[0]), height * float(grow[1])),
        feather=rng.uniform(0.1, 0.3),
    )


def forge(shot: Shot, method: Edit, strength: float, rng: np.random.Generator) -> Pixels:
    """Change an attribute of the person of ``shot``: (3, H, W) float32."""
    scene = shot.scene()
    picture = shot.photograph(scene.pixels)
    other, mood = draw_person(rng), draw_frame(rng)
    person = replace(
        shot.person,
        iris=other.iris,
        lips=0.5 * (shot.person.lips + other.lips),
        brow_weight=other.brow_weight,
        beard=other.beard,
        hairline=other.hairline,
    )
    frame = replace(
        shot.frame,
        smile=mood.smile,
        mouth_open=mood.mouth_open,
        eyes_open=mood.eyes_open,
        brow_raise=mood.brow_raise,
        gaze=mood.gaze,
    )
    changed = blur(shot.scene(person, frame).pixels, 0.45)
    made = decode(changed, method.decoder, strength, rng)
    x, y, width, height = method.region
    reach = np.hypot((scene.head.x - x) / width, (scene.head.y - y) / height) - 1.0
    mask = soft_mask(reach * min(width, height), method.feather) * scene.head.front
    return blend(picture, made, mask)
