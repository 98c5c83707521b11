"""What ``scan`` wants to know of files; a process that examines them imports no more than this."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from owdfa.images.decode import BadImageError, header_of, read
from owdfa.images.jpeg import jpeg_quality


class FileInfo(NamedTuple):
    """What one file holds; zero and None where that cannot be told."""

    width: int | None
    height: int | None
    format: str | None
    bytes: int | None
    sha256: str | None
    error: str | None
    jpeg_quality: int | None = None
    note: str | None = None  # what of its metadata is left aside


def examine(files: Sequence[tuple[str, str | None]]) -> list[FileInfo]:
    """Read files, each with what its listing says against it: such a one is not opened."""
    return [_examine(Path(path), error) for path, error in files]


def _examine(path: Path, error: str | None) -> FileInfo:
    if error is not None:
        return FileInfo(None, None, None, None, None, error)
    size, digest = None, None
    try:
        data = read(path)
        size, digest = len(data), sha256(data).hexdigest()
        width, height, kind, note = header_of(data, path)
    except BadImageError as bad:
        return FileInfo(None, None, None, size, digest, bad.reason)
    quality = jpeg_quality(data) if kind == "JPEG" else None
    return FileInfo(width, height, kind, size, digest, None, quality, note)
