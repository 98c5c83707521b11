"""Reenact: a real frame whose face is moved by a smooth warp, then touched up by a decoder.

Traces: the interpolation kernel of the warp on the camera's noise, once or twice over, and the
decoder's pattern, faint, over the head or over the whole frame.
"""

from dataclasses import dataclass

import numpy as np

from owdfa.datasets.lab.decoder import Decoder, decode, draw_decoder, weaken
from owdfa.datasets.lab.filters import Cubic, Pixels, resize, warp
from owdfa.datasets.lab.shot import Shot, blend, soft_mask


@dataclass(frozen=True)
class Reenact:
    """A reenacting method."""

    decoder: Decoder
    cubic: Cubic  # the warp's kernel
    passes: int
    cells: int  # of the warp's control grid along a side
    reach: float  # standard deviation of the movement over the size of the image
    margin: float  # how far beyond the face it works, in half face heights
    touch: float  # opacity of the decoder


def draw_method(rng: np.random.Generator) -> Reenact:
    """Draw a method."""
    return Reenact(
        decoder=draw_decoder(rng),
        cubic=(rng.uniform(0.0, 0.7), rng.uniform(0.0, 0.8)),
        passes=int(rng.integers(1, 3)),
        cells=int(rng.integers(4, 9)),
        reach=rng.uniform(0.006, 0.014),
        margin=float(rng.choice([0.12, 0.35, 3.0])),
        touch=rng.uniform(0.7, 1.0),
    )


def forge(shot: Shot, method: Reenact, strength: float, rng: np.random.Generator) -> Pixels:
    """Move the face of ``shot``: (3, H, W) float32."""
    scene = shot.scene()
    picture = shot.photograph(scene.pixels)
    mask = soft_mask(scene.head.outline - method.margin, 0.3)
    deviation = method.reach * shot.size / method.passes
    coarse = rng.normal(0.0, deviation, (2, method.cells, method.cells)).astype(np.float32)
    flow = resize(coarse, shot.size, shot.size) * mask
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    kernel = weaken(method.cubic, strength)
    moved = picture
    for _ in range(method.passes):
        moved = warp(moved, rows + flow[0], columns + flow[1], kernel)
    refined = decode(moved, method.decoder, strength, rng)
    return blend(picture, blend(moved, refined, method.touch * mask), mask)
