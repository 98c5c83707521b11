"""The pixels of an image of the synthetic benchmark."""

import io

import numpy as np
from PIL import Image


def pixels_of(content: bytes) -> np.ndarray:
    """(3, H, W) float32 in grey levels of 255."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image, np.float32).transpose(2, 0, 1)
