"""What a verdict is of: each face of an image, or the whole of it, cropped as for prediction."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from owdfa.images.boxes import Box as FaceBox
from owdfa.images.corruptions import jpeg
from owdfa.images.decode import BadImageError, decoded, header_of, read
from owdfa.images.faces import Fit, crop_face, crop_to_size, detector
from owdfa.images.jpeg import jpeg_quality
from owdfa.records.verdict import Box, Outcome

JPEG, HALF = "jpeg-75", "half-size"
_QUALITY = 75
_LARGEST = 4  # sides of a crop that a region has
_SMOOTH = Image.Resampling.BILINEAR
_FLAT = 1.0  # grey levels: a crop that deviates less holds rounding and compression, no picture


class CropRule(NamedTuple):
    """How crops are made, and which are worth looking at."""

    faces: str  # name of the detector
    size: int  # side of a crop
    fit: Fit
    min_size: int  # shorter side of a face, or of the image, in pixels
    min_quality: int  # of a JPEG file, as estimated
    needs_face: bool  # False: an image without one is looked at as a whole


class FileFacts(NamedTuple):
    """What is known of a file; None where it cannot be read so far."""

    sha256: str | None = None
    num_bytes: int | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    jpeg_quality: int | None = None


class Subject(NamedTuple):
    """A face, or a whole image."""

    box: Box | None
    size: int | None  # shorter side in pixels
    crop: np.ndarray | None  # (S, S, 3) uint8; None where there is nothing to look at
    region: Image.Image | None  # what it was made of, and twice as much where nothing is resized
    problem: Outcome | None  # why no verdict is possible

    @property
    def pixels(self) -> np.ndarray:
        """The crop of one that has a verdict."""
        assert self.crop is not None
        return self.crop


class Inspected(NamedTuple):
    """A file, and what verdicts are given of: at least one subject."""

    facts: FileFacts
    subjects: tuple[Subject, ...]


def inspect(path: Path, rule: CropRule) -> Inspected:
    """Decode a file, find its faces and crop them, from left to right."""
    facts = FileFacts()
    try:
        data = read(path)
        facts = FileFacts(hashlib.sha256(data).hexdigest(), len(data))
        facts = facts._replace(format=header_of(data, path).format)
        image = decoded(data, path)
    except BadImageError as error:
        return Inspected(
            facts, (Subject(None, None, None, None, problem("undecodable", error.reason)),)
        )
    quality = jpeg_quality(data) if facts.format == "JPEG" else None
    facts = facts._replace(width=image.width, height=image.height, jpeg_quality=quality)
    found = find_subjects(image, facts, rule)
    if not found:
        reason = f"the detector {rule.faces} finds no face"
        found = (Subject(None, min(image.size), None, None, problem("no-face", reason)),)
    return Inspected(facts, found)


def find_subjects(image: Image.Image, facts: FileFacts, rule: CropRule) -> tuple[Subject, ...]:
    """The faces of an image, from left to right; all of it where it need not have one."""
    boxes: Sequence[FaceBox | None] = ()
    if rule.faces != "none":
        boxes = sorted(detector(rule.faces).detect(np.asarray(image)))
    if not boxes and not rule.needs_face:
        boxes = (None,)
    return tuple(_subject(image, box, facts, rule) for box in boxes)


def _subject(image: Image.Image, box: FaceBox | None, facts: FileFacts, rule: CropRule) -> Subject:
    size = min(image.size) if box is None else min(box.right - box.left, box.bottom - box.top)
    found = None
    if size < rule.min_size:
        found = problem("too-small", f"{size} px, less than {rule.min_size}")
    elif facts.jpeg_quality is not None and facts.jpeg_quality < rule.min_quality:
        found = problem(
            "too-compressed", f"JPEG quality {facts.jpeg_quality}, less than {rule.min_quality}"
        )
    crop = crop_to_size(image, box, rule.size, rule.fit)
    if found is None and (deviation := float(crop.std(axis=(0, 1)).max())) < _FLAT:
        found = problem("not-of-domain", f"grey levels deviate by {deviation:.1f}")
    place = None if box is None else Box(**box._asdict())
    region = None if found else _region(image, box, rule)
    return Subject(place, size, crop, region, found)


def _region(image: Image.Image, box: FaceBox | None, rule: CropRule) -> Image.Image:
    """What variants are made of, at most four times as wide as a crop."""
    if rule.fit == "native":
        return Image.fromarray(crop_to_size(image, box, 2 * rule.size, rule.fit))
    region = crop_face(image, box).copy()
    region.thumbnail((_LARGEST * rule.size,) * 2, _SMOOTH)
    return region


def blur_of(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the luminance of a crop (S, S, 3) uint8; little is blurred."""
    grey = crop @ np.array([0.299, 0.587, 0.114])
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * inner).var()) if inner.size else 0.0


def variants(subject: Subject, rule: CropRule) -> dict[str, np.ndarray]:
    """The crop from the same file after mild changes, by their names; each (S, S, 3) uint8."""
    assert subject.region is not None
    region, size = subject.region, (rule.size, rule.size)
    native = rule.fit == "native"
    again = Image.fromarray(jpeg(subject.pixels if native else np.asarray(region), _QUALITY))
    half = region.resize((max(region.width // 2, 1), max(region.height // 2, 1)), _SMOOTH)
    return {
        JPEG: np.asarray(again if native else again.resize(size, _SMOOTH)),
        HALF: np.asarray(half if native else half.resize(size, _SMOOTH)),
    }


def problem(reason: str, detail: str) -> Outcome:
    """Why no verdict is possible."""
    return Outcome.model_validate({"kind": "not-applicable", "reason": reason, "detail": detail})
