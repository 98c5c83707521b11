"""The quality at which a JPEG file was saved, estimated from its quantisation table.

Encoders built on libjpeg scale the luminance table of the standard (ITU-T T.81, Annex K.1) by a
quality of 1 to 100; that of the nearest scaled table is the estimate. It is exact for their files;
others, cameras and Photoshop for example, use tables of their own, and get the nearest quality.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

import numpy as np

_SEGMENT_DQT, _SEGMENT_SOS = 0xDB, 0xDA
_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_STANDARD = np.array(  # in zigzag order, as files hold it
    [
        16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
        26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
        56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
        95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
    ]
)  # fmt: skip


def _scaled() -> np.ndarray:
    """The table at qualities 1 to 100, as libjpeg scales it: (100, 64)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: np.ndarray = np.clip((_STANDARD * scale[:, None] + 50) // 100, 1, 255)
    return tables


_TABLES = _scaled()


def jpeg_quality(data: bytes) -> int | None:
    """Estimate the quality of a JPEG file, 1 to 100; None where it holds no luminance table."""
    for kind, segment in _segments(data):
        table = _first_table(segment) if kind == _SEGMENT_DQT else None
        if table is not None:
            return 1 + int(np.abs(_TABLES - table).sum(axis=1).argmin())
    return None


class JpegTraits(NamedTuple):
    """How a JPEG file was saved; encoders differ in it where qualities do not."""

    tables: str  # digest of all quantisation tables
    form: str  # baseline or progressive, and the sampling of its channels, as "baseline 22 11 11"


def jpeg_traits(data: bytes) -> JpegTraits | None:
    """Traits of a JPEG file, of which the beginning is enough; None where they are not there."""
    tables, form = sha256(), None
    for kind, segment in _segments(data):
        if kind == _SEGMENT_DQT:
            tables.update(segment)
        elif kind in _FRAMES and len(segment) >= 6:
            factors = segment[7 : 6 + 3 * segment[5] : 3]
            form = " ".join([_FRAMES[kind], *(f"{factor:02x}" for factor in factors)])
    return None if form is None else JpegTraits(tables.hexdigest()[:16], form)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SEGMENT_SOS:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


def _first_table(segment: bytes) -> np.ndarray | None:
    """Table 0 of a segment of tables, (64,) in zigzag order; None where it has none."""
    at = 0
    while at < len(segment):
        wide, number = segment[at] >> 4, segment[at] & 15
        size = 128 if wide else 64
        if number == 0 and at + 1 + size <= len(segment):
            return np.frombuffer(segment, ">u2" if wide else "u1", 64, at + 1).astype(np.int64)
        at += 1 + size
    return None
