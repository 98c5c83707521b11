"""The one place that opens image files, and decides which are fit to be used.

What a file becomes, always uint8 RGB of the first frame, upright:

* The orientation that EXIF records is applied; colour profiles are not: pixels are evidence here.
* 16-bit grey is scaled to the nearest of 256 levels; Pillow keeps the high byte of 16-bit colour.
* CMYK, YCbCr, palette and grey are converted; transparency is laid over white, as a viewer shows
  it, because colours below a transparent pixel are never seen.

A file that is broken in any way is refused with a reason, never repaired: truncated, too small,
more than ``MAX_PIXELS``, or anything that Pillow warns of.
"""

import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from owdfa.errors import UserError

_SUFFIXES = "jpg jpeg jpe jfif png webp bmp tif tiff gif avif jp2 j2k ppm pgm pnm"

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""What is tried, and no other: some of Pillow's formats start programs or are hardly tested."""
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""How the files of these formats are named."""
MAX_PIXELS = 64 * 2**20
"""More is a decompression bomb, or at least no photograph of a face."""
MAX_BYTES = 8 * MAX_PIXELS
"""The most that ``MAX_PIXELS`` take in a file: four channels of 16 bit."""
MIN_SIDE = 8
"""Less than one block of JPEG holds no trace of anything."""
DECODER = f"Pillow {PIL.__version__}"
"""What decoded the pixels, for the record."""

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Strict:
    """Inside of it, whatever Pillow warns of is an error.

    Python keeps one list of warning filters for all threads: the first that comes in changes it,
    the last that leaves puts it back.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.num_inside = 0
        self.before = ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.num_inside == 0:
                self.before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("error", module="PIL")
            self.num_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.num_inside -= 1
            if self.num_inside == 0:
                self.before.close()


_STRICT = _Strict()


class BadImageError(UserError):
    """A file that cannot be used as an image; ``reason`` says why, without the file's name."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class Header(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    width: int  # in pixels as stored, before the orientation is applied
    height: int
    format: str  # one of FORMATS


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
    with _opened(data, path) as image:
        return _checked(image, data, path)


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
    with _opened(data, path) as image:
        _checked(image, data, path)
        orientation = image.getexif().get(_ORIENTATION, 1)
        turn = _UPRIGHT.get(orientation)
        rgb = _to_rgb(image, path)
        return rgb if turn is None else rgb.transpose(turn)


@contextmanager
def _opened(data: bytes, path: Path | str) -> Iterator[Image.Image]:
    """Open ``data``; whatever goes wrong inside the block is a ``BadImageError``."""
    with _STRICT:
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                yield image
        except BadImageError:
            raise
        except UnidentifiedImageError:
            raise BadImageError(path, "is not an image of a kind that is read here") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise BadImageError(path, f"has more than {MAX_PIXELS:,} pixels") from None
        except Exception as error:  # damaged bytes make a decoder fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadImageError(path, f"is damaged ({reason})") from error


def _checked(image: Image.Image, data: bytes, path: Path | str) -> Header:
    """The header of an opened image, when it is of a sensible size and its end is there."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(path, f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise BadImageError(
            path, f"{width} x {height} pixels are too few; {MIN_SIDE} a side are needed"
        )
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if not _has_end(data, kind):
        raise BadImageError(path, "is truncated")
    return Header(width, height, kind)


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
