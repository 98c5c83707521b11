"""Swap: another person's face, decoded and blended over the one in the picture.

Traces: the decoder's pattern within the mask only, the donor's resolution and colours, and the rim
of the mask. Hair, neck and background keep the camera's traces.
"""

from dataclasses import dataclass, replace

import numpy as np

from owdfa.datasets.lab.camera import draw_camera
from owdfa.datasets.lab.decoder import Decoder, decode, draw_decoder
from owdfa.datasets.lab.filters import Pixels, resize
from owdfa.datasets.lab.people import Person, draw_person
from owdfa.datasets.lab.shot import Shot, blend, soft_mask


@dataclass(frozen=True)
class Swap:
    """A face-swapping method. Lengths of the mask are in half face heights."""

    decoder: Decoder
    half_width: float
    half_height: float
    power: float  # 2 is an ellipse, more is squarer
    feather: float
    resolution: float  # of the donor's face over that of the picture
    mismatch: np.ndarray  # (3,), what colour correction leaves, as a share of each colour


def draw_method(rng: np.random.Generator) -> Swap:
    """Draw a method."""
    return Swap(
        decoder=draw_decoder(rng),
        half_width=rng.uniform(0.50, 0.62),
        half_height=rng.uniform(0.55, 0.68),
        power=rng.uniform(2.0, 4.0),
        feather=rng.uniform(0.08, 0.3),
        resolution=rng.uniform(0.55, 0.95),
        mismatch=rng.normal(0.0, 0.025, 3),
    )


def forge(shot: Shot, method: Swap, strength: float, rng: np.random.Generator) -> Pixels:
    """Put a stranger's face on the person of ``shot``: (3, H, W) float32."""
    target = shot.scene()
    picture = shot.photograph(target.pixels)
    stranger = _alike(draw_person(rng), shot.person)
    donor = shot.photograph(shot.scene(stranger).pixels, draw_camera(rng))
    resolution = 1.0 + min(strength, 1.0) * (method.resolution - 1.0)
    small = max(8, round(shot.size * resolution))
    donor = resize(resize(donor, small, small), shot.size, shot.size)
    donor = decode(donor, method.decoder, strength, rng)
    head = target.head
    x, y = np.abs(head.x) / method.half_width, np.abs(head.y - 0.25) / method.half_height
    reach = np.power(x**method.power + y**method.power, 1.0 / method.power) - 1.0
    mask = soft_mask(reach * method.half_width, method.feather) * head.front
    donor = donor * _correction(donor, picture, mask)
    donor = donor * _gain(1.0 + strength * method.mismatch)
    return blend(picture, donor, mask)


def _alike(stranger: Person, person: Person) -> Person:
    """A donor is chosen for a skin like the other's, and wears glasses when they do."""
    skin = 0.75 * person.skin + 0.25 * stranger.skin
    return replace(
        stranger, skin=skin, lips=0.5 * (person.lips + stranger.lips), glasses=person.glasses
    )


def _correction(donor: Pixels, picture: Pixels, mask: np.ndarray) -> np.ndarray:
    """Gain of each colour that gives the donor's face the mean colour of the picture's."""
    weight = mask + np.float32(1e-6)
    gain = (picture * weight).sum(axis=(1, 2)) / (donor * weight).sum(axis=(1, 2))
    return _gain(np.clip(gain, 0.7, 1.4))


def _gain(colour: np.ndarray) -> np.ndarray:
    """A factor for each colour, ready to multiply pixels."""
    return colour.astype(np.float32).reshape(3, 1, 1)
