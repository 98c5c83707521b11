"""Perceptual hash: 64 bits that barely change when an image is recompressed or resized.

The classic recipe (C. Zauner, "Implementation and benchmarking of perceptual image hash
functions", 2010): grey, 32 x 32, DCT-II; bit i is set if the i-th of the 8 x 8 lowest
frequencies that vary in both directions is above their median.
"""

import numpy as np
from PIL import Image

THUMB = 32  # side of the image that is transformed
_LOW = 8  # side of the block of frequencies that is kept


def thumb(image: Image.Image) -> np.ndarray:
    """Shrink an image to (32, 32) uint8 grey, what its hash is computed from."""
    return np.asarray(
        image.convert("L").resize((THUMB, THUMB), Image.Resampling.BILINEAR, reducing_gap=3.0)
    )


def phash(thumbs: np.ndarray) -> np.ndarray:
    """Hash grey images.

    Args:
        thumbs: (B, 32, 32) uint8.

    Returns:
        (B,) uint64; bit 8 i + j is for frequency i + 1 downwards, j + 1 to the right.
    """
    steps = np.pi / THUMB * (np.arange(THUMB) + 0.5)
    basis = np.cos(np.arange(1, _LOW + 1)[:, None] * steps)  # (8, 32)
    # einsum, not matmul: its sums do not depend on the linear algebra library of the machine.
    half = np.einsum("fy,byx->bfx", basis, thumbs.astype(np.float64))
    frequencies = np.einsum("bfx,gx->bfg", half, basis).reshape(len(thumbs), _LOW * _LOW)
    frequencies = frequencies.round(6)  # an image without any hashes to 0, not to rounding noise
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    weights = np.uint64(1) << np.arange(_LOW * _LOW, dtype=np.uint64)
    hashes: np.ndarray = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes
