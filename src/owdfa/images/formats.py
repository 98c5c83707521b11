"""Which kinds of image are read, and by what: Pillow, or a plug-in of the extra ``formats``."""

from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, cast

from PIL import Image

from owdfa.signatures import Signature, identify_file

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""What Pillow is given, and no other: some of its formats start programs or are hardly tested."""

NO_IMAGE = "not an image ({})"
"""What is said of another kind of file."""

_SUFFIXES = (
    "jpg jpeg jpe jfif png apng webp bmp dib tif tiff gif avif avifs jp2 j2k jpc jpf jpx ppm pgm"
    " pnm pbm heic heif hif jxl"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""How the files of these formats are named: one with such a name must be an image."""


class _Plugin(NamedTuple):
    """A package whose class opens a format of its own; nothing is registered with Pillow."""

    package: str
    module: str
    opener: str


_PLUGINS = {
    "HEIC": _Plugin("pillow-heif", "pillow_heif", "HeifImageFile"),
    "JXL": _Plugin("pillow-jxl-plugin", "pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
}


class NoReaderError(Exception):
    """A file of a kind that is not read here; the text says what it is and what helps."""


def open_image(data: bytes, signature: Signature) -> Image.Image:
    """Open an image file without decoding it, where the format allows that.

    Args:
        data: Its content.
        signature: What its first bytes say that it is.

    Raises:
        NoReaderError: It is no image, or of a kind that is not read here.
        Exception: Whatever the decoder raises of a damaged file.
    """
    name = signature.name
    if name in FORMATS:
        return Image.open(BytesIO(data), formats=(name,))
    if name in _PLUGINS:
        return _opener(name)(BytesIO(data))
    if signature.is_image:
        raise NoReaderError(f"is {name}, a kind of image that is not read here; save it as PNG")
    raise NoReaderError(f"is not an image ({name})")


def _opener(name: str) -> Callable[[BytesIO], Image.Image]:
    plugin = _PLUGINS[name]
    try:
        opener = getattr(import_module(plugin.module), plugin.opener)
    except ImportError:
        raise NoReaderError(
            f"is {name}, which {plugin.package} reads; pip install 'owdfa[formats]'"
        ) from None
    return cast("Callable[[BytesIO], Image.Image]", opener)


def why_no_image(path: Path) -> str | None:
    """Why a file in a folder of images is none; None where it is, or should be, one.

    A file that is named as an image should be one, whatever it holds; so should one that cannot
    be read. Of any other the first bytes decide.
    """
    if path.suffix.lower() in SUFFIXES:
        return None
    try:
        if not S_ISREG(path.stat().st_mode):
            return "not a regular file"
        signature = identify_file(path)
    except (OSError, ValueError):
        return None
    return None if signature.is_image else NO_IMAGE.format(signature.name)
