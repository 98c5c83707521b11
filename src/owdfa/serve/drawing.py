"""Pictures of the files of a case, drawn by a worker: small, whole, or what the network saw."""

import hashlib
import secrets
from pathlib import Path
from typing import Literal

from PIL import Image

from owdfa.config import Settings
from owdfa.images.boxes import Box as FaceBox
from owdfa.images.decode import BadImageError, decoded, read
from owdfa.images.faces import Fit, crop_to_size
from owdfa.images.video import frames_at
from owdfa.records.verdict import Box

Kind = Literal["thumb", "overview", "face"]
SIDES = {"thumb": 128, "overview": 960, "face": 224}
"""The longest side, in pixels."""
_QUALITY = 85


class Wanted(Settings):
    """A picture that is to be drawn."""

    place: str
    """The file."""
    sha256: str
    """What it must have."""
    output: str
    """Where the picture goes."""
    kind: Kind
    time: float | None = None
    """Of a video: of the frame."""
    interval: float = 0.2
    """Of a video: seconds between the frames that were looked at."""
    box: Box | None = None
    """Of a face; None for the whole image."""
    size: int = 0
    """Of a face: the side of what the network saw."""
    fit: Fit = "resize"
    """Of a face: how it got that size."""


def draw(wanted: Wanted) -> bool:
    """Draw a picture.

    Returns:
        Whether there is one: the file may be gone, changed, or no image.
    """
    try:
        image = _image(wanted)
    except (BadImageError, OSError):
        return False
    if image is None:
        return False
    if wanted.kind == "face":
        box = None if wanted.box is None else FaceBox(**wanted.box.model_dump())
        image = Image.fromarray(crop_to_size(image, box, wanted.size, wanted.fit))
    side = SIDES[wanted.kind]
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    _save(image, Path(wanted.output))
    return True


def _image(wanted: Wanted) -> Image.Image | None:
    """The image, or the frame of a video; None where the file is another by now."""
    place = Path(wanted.place)
    if wanted.time is None:
        data = read(place)
        same = hashlib.sha256(data).hexdigest() == wanted.sha256
        return decoded(data, place) if same else None
    with place.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != wanted.sha256:
            return None
    (frame,) = frames_at(place, [wanted.time], wanted.interval)
    return Image.fromarray(frame.pixels)


def _save(image: Image.Image, path: Path) -> None:
    """Write a JPEG that appears whole; a crash may lose it, and it is drawn again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        image.save(temporary, "JPEG", quality=_QUALITY)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
