"""What a file is, told by its first bytes: nobody's word for it, its name's included, is taken."""

import re
from codecs import getincrementaldecoder
from pathlib import Path
from typing import NamedTuple

HEAD = 512
"""Bytes that are needed, at most."""


class Signature(NamedTuple):
    """A kind of file."""

    name: str  # for a message: "PNG", "text", "a Git LFS pointer"
    is_image: bool = False  # of a kind that is read here, or of another


_IMAGES = (  # the names of those that are read here are Pillow's
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("WEBP", rb"RIFF....WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("a camera's RAW file", rb"II\*\0.{4}CR|IIR[OS]|IIU\0|FUJIFILMCCD-RAW|....ftypcrx "),
    ("TIFF", rb"II[*+]\0|MM\0[*+]|MM\*\0"),
    ("JPEG2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ("PPM", rb"P[1-6fy][\t\n\r ]\s*[-#\d]"),
    ("JXL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    ("AVIF", rb"....ftypavi[fs]|....ftypm[is]f1.{4}(?:.{4}){0,15}?avi[fs]"),
    ("HEIC", rb"....ftyp(?:he[iv][cxms]|m[is]f1)"),
    ("PSD", rb"8BPS"),
    ("EXR", rb"v/1\x01"),
    ("ICO", rb"\0\0[\x01\x02]\0[^\0]\0"),
    ("DDS", rb"DDS "),
    ("QOI", rb"qoif"),
    ("XCF", rb"gimp xcf"),
    ("DICOM", rb".{128}DICM"),
    ("JPEG XR", rb"II\xbc"),
    ("Radiance HDR", rb"#\?RADIANCE|#\?RGBE"),
    ("FITS", rb"SIMPLE  ="),
    ("SVG", rb"\s*(?:<\?xml.{0,300}?|<!--.{0,300}?)?<(?:svg|!DOCTYPE svg)"),
)
VIDEO = "a video"
"""The name of every kind of file that may hold one."""

_OTHERS = (
    ("a Git LFS pointer", rb"version https://git-lfs"),
    ("an HTML page", rb"(?i:\s*(?:<!--.{0,300}?-->\s*)?<(?:!doctype html|html|head))"),
    ("XML", rb"\s*<\?xml"),
    ("PDF", rb"%PDF-"),
    ("a ZIP archive", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    ("a compressed file", rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!"),
    ("a tar archive", rb".{257}ustar"),
    (
        VIDEO,
        rb"....(?:ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|FLV\x01|\0\0\x01[\xb3\xba]|RIFF....AVI "
        rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|G.{187}G.{187}G|OggS.{24,50}(?:\x80theora|\x01video)",
    ),
    ("sound", rb"ID3|OggS|fLaC|RIFF....WAVE|\xff[\xfb\xf3\xf2]"),
    ("Parquet", rb"PAR1"),
    ("HDF5", rb"\x89HDF\r\n"),
    ("NumPy data", rb"\x93NUMPY"),
    ("SQLite", rb"SQLite format 3"),
    ("safetensors", rb".{5}\0\0\0\{"),
    ("a pickle", rb"\x80[\x02-\x05]"),
    ("ONNX", rb"\x08[\x01-\x20](?:\x12.|:)"),
    ("JSON", rb"\s*[\[{]\s*[\"\d\[{}\]]"),
)
_KNOWN = [
    (re.compile(pattern, re.DOTALL), Signature(name, is_image))
    for table, is_image in ((_IMAGES, True), (_OTHERS, False))
    for name, pattern in table
]
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b\b")


def identify(head: bytes) -> Signature:
    """The kind of a file that begins with ``head``: its first ``HEAD`` bytes, or all of it."""
    if not head:
        return Signature("empty")
    for pattern, signature in _KNOWN:
        if pattern.match(head):
            return signature
    return Signature("text" if _is_text(head) else "of an unknown kind")


def _is_text(head: bytes) -> bool:
    if head.startswith(_UTF16):
        return True
    if _CONTROL.intersection(head):
        return False
    try:
        getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:  # an older encoding, where most letters are ASCII's still
        return sum(byte >= 128 for byte in head) < len(head) / 2
    return True


def identify_file(path: Path) -> Signature:
    """The kind of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return identify(stream.read(HEAD))
