"""Faces: where one is in an image, and the crop that is used for the image from then on.

The releases' rule: the first box of dlib's frontal HOG detector, enlarged 1.2 times about its
centre and clipped to the image; the whole image where none is found; resized to a square without
regard to its proportions. With ``fit="native"`` nothing is resized: a square is cut out, about the
centre of the face or of the image, and mirrored at the edges of an image that is smaller.
"""

import threading
from collections.abc import Callable
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
from PIL import Image

from owdfa.catalog import nearest
from owdfa.errors import UserError
from owdfa.images.boxes import Box
from owdfa.images.centerface import CenterFaceDetector, find_weights
from owdfa.images.decode import decode_image
from owdfa.images.phash import thumb

ENLARGE = 1.2

Fit = Literal["resize", "native"]
"""How a crop gets its size: resized to it, or cut out at the image's own resolution."""


class FaceDetector(Protocol):
    """Finds faces."""

    def detect(self, rgb: np.ndarray) -> list[Box]:
        """Faces in an image (H, W, 3) uint8, the most confident first."""
        ...


class Crop(NamedTuple):
    """What is kept of an image."""

    pixels: np.ndarray  # (size, size, 3) uint8
    face: Box | None
    thumb: np.ndarray  # (32, 32) uint8, of the whole image


@final
class NoDetector:
    """Finds nothing: the whole image is the crop."""

    def detect(self, rgb: np.ndarray) -> list[Box]:  # noqa: ARG002  the protocol's
        """No face."""
        return []


@final
class DlibDetector:
    """dlib's frontal HOG detector on the image as it is; finds no face smaller than 80 pixels."""

    def __init__(self) -> None:
        with _LOADING:
            self._detector = copy(_frontal())

    def detect(self, rgb: np.ndarray) -> list[Box]:
        """Faces, the most confident first."""
        boxes, scores, _ = self._detector.run(rgb, 0, 0.0)  # no up-sampling, dlib's own threshold
        return [
            Box(box.left(), box.top(), box.right() + 1, box.bottom() + 1, float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]


_LOADING = threading.Lock()


@cache
def _frontal() -> Any:
    """The detector of dlib: unpacked in a third of a second, copied in some milliseconds."""
    import dlib

    return dlib.get_frontal_face_detector()


_DETECTORS: dict[str, Callable[[], FaceDetector]] = {
    "none": NoDetector,
    "dlib": DlibDetector,
    "centerface": CenterFaceDetector,
}
_NEEDS: dict[str, Callable[[], object]] = {"centerface": find_weights}
FACES = tuple(_DETECTORS)
_OWN = threading.local()  # each thread's detectors, by name


def check_faces(name: str) -> None:
    """Refuse the name of a detector that does not exist, or is not installed.

    Raises:
        UserError: The name is unknown: the nearest is given; or what helps is.
    """
    if name not in _DETECTORS:
        raise UserError(f"no face detector {name!r}{nearest(name, list(FACES))}")
    _NEEDS.get(name, bool)()


def crop_face(image: Image.Image, face: Box | None) -> Image.Image:
    """Cut a face out of an image: its box enlarged and clipped, or all of the image."""
    if face is None:
        return image
    left, right = _enlarge(face.left, face.right, image.width)
    top, bottom = _enlarge(face.top, face.bottom, image.height)
    return image.crop((left, top, right, bottom))


def crop_to_size(image: Image.Image, face: Box | None, size: int, fit: Fit) -> np.ndarray:
    """Crop an image to (size, size, 3) uint8, see the head of this file."""
    if fit == "resize":
        crop = crop_face(image, face)
        return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))
    box = face or Box(0, 0, image.width, image.height, 0.0)
    left, right = _window((box.left + box.right) // 2, size, image.width)
    top, bottom = _window((box.top + box.bottom) // 2, size, image.height)
    pixels = np.asarray(image.crop((left, top, right, bottom)))
    missing = [(size - side) // 2 for side in pixels.shape[:2]]
    rest = [size - side - m for side, m in zip(pixels.shape[:2], missing, strict=True)]
    return np.pad(pixels, [*zip(missing, rest, strict=True), (0, 0)], mode="symmetric")


def crop_image(image: Image.Image, detector: FaceDetector, size: int, fit: Fit = "resize") -> Crop:
    """Find the face in an image and crop: what training and prediction start from."""
    face = next(iter(detector.detect(np.asarray(image))), None)
    return Crop(crop_to_size(image, face, size, fit), face, thumb(image))


def crop_pixels(path: Path, faces: str, size: int, fit: Fit = "resize") -> np.ndarray:
    """The pixels of ``crop_image``, (size, size, 3) uint8, in fewer copies, without a thumbnail.

    Args:
        path: The file.
        faces: Name of the detector.
        size: Side of the crop.
        fit: How it gets that size.

    Raises:
        BadImageError: The file is not an image that can be used.
    """
    image, face = decode_image(path), None
    if faces != "none":
        face = next(iter(detector(faces).detect(np.asarray(image))), None)
    return crop_to_size(image, face, size, fit)


def detector(name: str) -> FaceDetector:
    """The detector ``name`` of this thread: dlib's cannot work on two images at a time."""
    loaded: dict[str, FaceDetector] = _OWN.__dict__
    if name not in loaded:
        loaded[name] = _DETECTORS[name]()
    return loaded[name]


def _window(centre: int, size: int, limit: int) -> tuple[int, int]:
    """An interval of ``size`` about ``centre`` within [0, limit]; all of that where it is less."""
    start = min(max(centre - size // 2, 0), max(limit - size, 0))
    return start, min(start + size, limit)


def _enlarge(low: int, high: int, limit: int) -> tuple[int, int]:
    """Enlarge an interval about its centre and clip it to [0, limit], at least one pixel."""
    centre, half = (low + high) / 2, ENLARGE * (high - low) / 2
    start = min(max(round(centre - half), 0), limit - 1)
    return start, max(min(round(centre + half), limit), start + 1)
