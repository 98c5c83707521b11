"""Generate: the whole picture comes out of a decoder; no camera has seen it.

Traces: the decoder's pattern everywhere, its mixture of colours and its noise in place of a
camera's.
"""

from dataclasses import dataclass

import numpy as np

from owdfa.datasets.lab.decoder import Decoder, decode, draw_decoder
from owdfa.datasets.lab.filters import Pixels, blur
from owdfa.datasets.lab.shot import Shot


@dataclass(frozen=True)
class Generate:
    """A method that makes whole images."""

    decoder: Decoder
    softness: float  # blur of what it imagines, in pixels


def draw_method(rng: np.random.Generator) -> Generate:
    """Draw a method."""
    return Generate(decoder=draw_decoder(rng), softness=rng.uniform(0.3, 0.6))


def forge(shot: Shot, method: Generate, strength: float, rng: np.random.Generator) -> Pixels:
    """Make a picture like that of ``shot``: (3, H, W) float32."""
    imagined = blur(shot.scene().pixels, method.softness)
    return decode(imagined, method.decoder, strength, rng)
