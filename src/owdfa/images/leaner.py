"""Files without the metadata that kept a decoder from their pixels; the pixels' bytes stay.

Text, colour profiles and EXIF are nobody's business here but for the orientation, so that a file
whose text is too long, or whose profile is damaged, is still read.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Literal

_EXIF_ITEM = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)
_JPEG_NEEDED = frozenset((0xE0, 0xEE))  # JFIF and Adobe's, which says how colours are stored
_TIFF_METADATA = frozenset((700, 33723, 34377, 34665, 34675, 34853))  # XMP, IPTC, EXIF, ICC, GPS
_UNUSED_TAG = 65000
_CLASSIC_TIFF = 42
_WEBP_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}  # and its bit in VP8X


def leaner(data: bytes, kind: str) -> Iterator[bytes]:
    """A file without metadata but for EXIF, then without that too; no file twice.

    Args:
        data: Content of the file.
        kind: Its format, as Pillow calls it.
    """
    strip = _STRIPPERS.get(kind, _unchanged)
    seen = {data}
    for keep_exif in (True, False):
        content = strip(data, keep_exif)
        if content not in seen:
            seen.add(content)
            yield content


def _unchanged(data: bytes, keep_exif: bool) -> bytes:  # noqa: ARG001  of other formats
    return data


def _png(data: bytes, keep_exif: bool) -> bytes:
    """Critical chunks and transparency; EXIF where its checksum is right."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if kind == b"eXIf":
            whole = zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
            needed = keep_exif and whole
        else:
            needed = kind == b"tRNS" or not kind[0] & 0x20
        if needed:
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def _jpeg(data: bytes, keep_exif: bool) -> bytes:
    """What stands before the first scan without comments and the segments of applications."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        marker = data[at + 1]
        if marker == 0xFF:  # fills up
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        exif = marker == 0xE1 and data[at + 4 : at + 8] == b"Exif"
        extra = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not extra or marker in _JPEG_NEEDED or (exif and keep_exif):
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def _webp(data: bytes, keep_exif: bool) -> bytes:
    parts, at = [], 12
    unwanted = {kind for kind in _WEBP_METADATA if not (keep_exif and kind == b"EXIF")}
    flags = sum(_WEBP_METADATA[kind] for kind in unwanted)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end, kind = at + 8 + size + size % 2, data[at : at + 4]
        if kind == b"VP8X":
            told = bytes(byte & ~flags for byte in data[at + 8 : at + 9])
            parts += [data[at : at + 8], told, data[at + 9 : end]]
        elif kind not in unwanted:
            parts.append(data[at:end])
        at = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _tiff(data: bytes, keep_exif: bool) -> bytes:  # noqa: ARG001  the orientation is no EXIF here
    """Give the metadata of the first image tags that nobody reads; of BigTIFF they stay."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    if int.from_bytes(data[2:4], order) != _CLASSIC_TIFF:
        return data
    content, first = bytearray(data), int.from_bytes(data[4:8], order)
    for i in range(int.from_bytes(data[first : first + 2], order)):
        at = first + 2 + 12 * i
        if int.from_bytes(data[at : at + 2], order) in _TIFF_METADATA:
            content[at : at + 2] = _UNUSED_TAG.to_bytes(2, order)
    return bytes(content)


def _heif(data: bytes, keep_exif: bool) -> bytes:
    """Call the EXIF item something else."""
    return data if keep_exif else _EXIF_ITEM.sub(rb"\1skip", data)


_STRIPPERS: dict[str, Callable[[bytes, bool], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "TIFF": _tiff,
    "AVIF": _heif,
    "HEIC": _heif,
}
