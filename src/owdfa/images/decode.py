"""The one place that opens image files, and decides which are fit to be used.

What a file becomes, always uint8 RGB of the first frame, upright:

* The orientation that EXIF records is applied; colour profiles are not: pixels are evidence here.
* 16-bit grey is scaled to the nearest of 256 levels; Pillow keeps the high byte of 16-bit colour.
* CMYK, YCbCr, palette and grey are converted; transparency is laid over white, as a viewer shows
  it, because colours below a transparent pixel are never seen.

A file whose pixels cannot be decoded whole is refused with a reason, never repaired: truncated,
damaged, too small, or of more than ``MAX_PIXELS``. Metadata that cannot be used is left aside, and
``Header.note`` says so: an image is not worse for it.
"""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from owdfa.errors import UserError
from owdfa.images.formats import NoReaderError, open_image
from owdfa.images.jxl import jxl_header
from owdfa.images.leaner import leaner
from owdfa.images.quiet import LEFT_ASIDE, QUIET, in_one_line
from owdfa.signatures import HEAD, Signature, identify

_T = TypeVar("_T")

MAX_PIXELS = 64 * 2**20
"""More is a decompression bomb, or at least no photograph of a face."""
MAX_BYTES = 8 * MAX_PIXELS
"""The most that ``MAX_PIXELS`` take in a file: four channels of 16 bit."""
MIN_SIDE = 8
"""Less than one block of JPEG holds no trace of anything."""
DECODER = f"Pillow {PIL.__version__}"
"""What decoded the pixels, for the record."""

_ORIENTATION = 0x0112  # EXIF and TIFF tag
_WIDTH, _HEIGHT, _SUBFILE = 0x0100, 0x0101, 0x00FE  # of TIFF; the last is odd for a reduced copy
_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(UserError):
    """A file that cannot be used as an image; ``reason`` says why, without the file's name."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class _DamagedError(BadImageError):
    """A decoder failed: perhaps at metadata that it can do without."""


class Header(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    width: int  # in pixels as stored, before the orientation is applied
    height: int
    format: str  # by its content: "JPEG", "PNG", ...
    note: str | None = None  # what of its metadata is left aside, and why


def read(path: Path) -> bytes:
    """Read a regular file of at most ``MAX_BYTES``.

    Raises:
        BadImageError: It is missing, unreadable, empty, too large, or a folder, pipe or device.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadImageError(path, "is not a regular file")
        if found.st_size > MAX_BYTES:
            raise BadImageError(path, f"{found.st_size:,} bytes are more than {MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise BadImageError(path, f"cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # a name that no file can have
        raise BadImageError(path, f"cannot be read ({error})") from None
    if not data:
        raise BadImageError(path, "is empty")
    return data


def header(path: Path) -> Header:
    """Size and format of an image file, without decoding it.

    Raises:
        BadImageError: The file is not an image that can be used.
    """
    return header_of(read(path), path)


def header_of(data: bytes, path: Path | str) -> Header:
    """Size and format of the image file whose content is ``data``; ``path`` is for the message.

    Raises:
        BadImageError: It is not an image that can be used.
    """
    found, note = _attempt(data, path, lambda image, content: _header(image, content, path))
    return found._replace(note=note)


def decode(path: Path) -> np.ndarray:
    """Pixels of an image file, (H, W, 3) uint8 RGB; see above what becomes of other kinds.

    Raises:
        BadImageError: The file is not an image that can be used.
    """
    return np.array(decode_image(path))


def decode_image(path: Path) -> Image.Image:
    """The same as an image of Pillow's: who needs no array is spared a copy.

    Raises:
        BadImageError: The file is not an image that can be used.
    """
    return decoded(read(path), path)


def decoded(data: bytes, path: Path | str) -> Image.Image:
    """The same of a file whose content is ``data``; ``path`` is for the message.

    Raises:
        BadImageError: It is not an image that can be used.
    """
    return _attempt(data, path, lambda image, content: _upright(image, content, path))[0]


def _attempt(
    data: bytes, path: Path | str, use: Callable[[Image.Image, bytes], _T]
) -> tuple[_T, str | None]:
    """Give ``use`` the opened image; where that fails, once more without the file's metadata.

    Returns:
        What ``use`` returns, and what of the metadata cannot be used.

    Raises:
        BadImageError: It fails without metadata too.
    """
    signature = identify(data[:HEAD])
    with QUIET as notes:
        try:
            with _opened(data, path, signature) as image:
                return use(image, data), _note(notes)
        except _DamagedError as error:
            failure = error
        if not _has_end(data, signature.name):
            raise BadImageError(path, "is truncated")
        for content in leaner(data, signature.name):
            try:
                with _opened(content, path, signature) as image:
                    return use(image, content), _note([failure.reason])
            except _DamagedError as error:
                failure = error
    raise failure


def _note(reasons: list[str]) -> str | None:
    return f"{LEFT_ASIDE} ({reasons[0]})" if reasons else None


@contextmanager
def _opened(data: bytes, path: Path | str, signature: Signature) -> Iterator[Image.Image]:
    """Open ``data``; whatever goes wrong inside the block is a ``BadImageError``."""
    try:
        _check_jxl(data, path, signature)
        with open_image(data, signature) as image:
            yield image
    except BadImageError:
        raise
    except NoReaderError as error:
        raise BadImageError(path, str(error)) from None
    except UnidentifiedImageError:
        reason = f"is damaged (begins like {signature.name}, and cannot be opened as that)"
        raise _DamagedError(path, reason) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(path, f"has more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:  # no fault of the file
        raise
    except Exception as error:  # damaged bytes make a decoder fail in any way
        raise _DamagedError(path, f"is damaged ({in_one_line(error)})") from error


def _check_jxl(data: bytes, path: Path | str, signature: Signature) -> None:
    """Refuse a JPEG XL file of too many pixels: its plug-in decodes them when it opens it."""
    if signature.name == "JXL":
        found = jxl_header(data)
        _check_size(found.width, found.height, path)


def _header(image: Image.Image, data: bytes, path: Path | str) -> Header:
    """The header, and a look at EXIF where that costs no decoding."""
    found = _checked(image, data, path)
    if "exif" in image.info:
        _orientation(image)
    return found


def _checked(image: Image.Image, data: bytes, path: Path | str) -> Header:
    """The header of an opened image, when it is of a sensible size and its end is there."""
    width, height = image.size
    _check_size(width, height, path)
    kind = {"MPO": "JPEG", "HEIF": "HEIC"}.get(str(image.format), str(image.format))
    if kind == "TIFF":
        width, height = _tiff_size(image, path)
    if not _has_end(data, kind):
        raise BadImageError(path, "is truncated")
    return Header(width, height, kind)


def _check_size(width: int, height: int, path: Path | str) -> None:
    if width * height > MAX_PIXELS:
        raise BadImageError(path, f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise BadImageError(
            path, f"{width} x {height} pixels are too few; {MIN_SIDE} a side are needed"
        )


def _tiff_size(image: Image.Image, path: Path | str) -> tuple[int, int]:
    """The size as stored; Pillow's may be that of the upright image.

    Raises:
        BadImageError: The first image is a reduced copy of the one that is meant.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_SUBFILE, 0) & 1:
        raise BadImageError(
            path, "begins with a reduced copy, as a camera's RAW file does; save it as PNG"
        )
    return tags[_WIDTH], tags[_HEIGHT]


def _has_end(data: bytes, kind: str) -> bool:
    """False when the file was certainly cut off: told without decoding, in microseconds.

    In a JPEG the end marker cannot occur by chance after the start of the scan; before it stands
    a thumbnail, which has an end marker of its own.
    """
    if kind == "JPEG":
        return data.rfind(b"\xff\xd9", _start_of_scan(data)) >= 0
    if kind == "PNG":
        return data.rfind(b"IEND") >= 0
    if kind == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return True


def _start_of_scan(data: bytes) -> int:
    """Where the first scan of a JPEG file begins; its length when there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)


def _upright(image: Image.Image, data: bytes, path: Path | str) -> Image.Image:
    """Decode the first frame as RGB, and turn it by its orientation."""
    kind = _checked(image, data, path).format
    rgb = _to_rgb(image, path)
    if kind == "JXL" and jxl_header(data).orientation != 1:  # its decoder has turned it
        return rgb
    # After decoding: Pillow turns TIFF meanwhile, and removes the orientation.
    turn = _UPRIGHT.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> object:
    """As EXIF says; upright where that cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # noqa: BLE001  damaged bytes make its reader fail in any way
        QUIET.note(in_one_line(error))
        return 1


def _to_rgb(image: Image.Image, path: Path | str) -> Image.Image:
    """Decode the first frame and convert it to RGB."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BadImageError(path, "has 32-bit samples, of which nobody knows which value is white")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    if image.mode == "RGB":  # converting would copy it
        image.load()
        return image
    return image.convert("RGB")
