"""A picture, and files of pictures."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth, and different at all its corners."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 8, columns * 7, rows * 0 + 40], axis=2).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def png(width: int, height: int, kind: bytes, pixels: bytes, row: int) -> bytes:
    """A PNG file with this header and these rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + sum_

    rows = b"".join(b"\0" + pixels[at : at + row] for at in range(0, len(pixels), row))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">II", width, height) + kind)
    return start + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
