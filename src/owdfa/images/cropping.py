"""What a worker process of ``prepare`` does: one read of a file, and all that is kept of it.

This module imports little: every worker is a new interpreter that waits for what it imports.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.images.decode import BadImageError, decoded, read
from owdfa.images.faces import Crop, Fit, crop_image, detector
from owdfa.images.journal import Cropped
from owdfa.images.phash import THUMB, phash


class File(NamedTuple):
    """An image as the manifest knows it."""

    path: str
    sha256: str


def crop_chunk(files: Sequence[File], faces: str, size: int, fit: Fit = "resize") -> Cropped:
    """Crop files with the detector called ``faces`` to ``size`` x ``size`` pixels."""
    results = [crop_unchanged(file, faces, size, fit) for file in files]
    pixels = np.zeros((len(files), size, size, 3), np.uint8)
    thumbs = np.zeros((len(files), THUMB, THUMB), np.uint8)
    for i, result in enumerate(results):
        if isinstance(result, Crop):
            pixels[i], thumbs[i] = result.pixels, result.thumb
    face = [result.face if isinstance(result, Crop) else None for result in results]
    error = [result if isinstance(result, str) else None for result in results]
    return Cropped(pixels, phash(thumbs).tolist(), face, error)


def crop_unchanged(file: File, faces: str, size: int, fit: Fit) -> Crop | str:
    """Crop a file, or say why it cannot be used: that it is not the one that was scanned, say."""
    path = Path(file.path)
    try:
        data = read(path)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            return "has changed since it was scanned"
        return crop_image(decoded(data, path), detector(faces), size, fit)
    except BadImageError as error:
        return error.reason
