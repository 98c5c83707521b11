"""What ``scan`` wants to know of files; a process that examines them imports no more than this."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from stat import S_ISLNK
from typing import NamedTuple

from owdfa.images.decode import BadImageError, header_of, read


class Examined(NamedTuple):
    """What one file holds; zero and None where that cannot be told."""

    width: int | None
    height: int | None
    format: str | None
    bytes: int | None
    sha256: str | None
    error: str | None
    place: int = 0  # a hash of device and inode
    linked: bool = False  # its path is a symbolic link
    note: str | None = None  # what of its metadata is left aside


def examine(files: Sequence[tuple[str, str | None]]) -> list[Examined]:
    """Read files, each with what its listing says against it: such a one is not opened."""
    return [_examine(Path(path), error) for path, error in files]


def _examine(path: Path, error: str | None) -> Examined:
    if error is not None:
        return Examined(None, None, None, None, None, error)
    size, digest, place, linked = None, None, 0, False
    try:
        data = read(path)
        size, digest = len(data), sha256(data).hexdigest()
        found = path.lstat()
        if linked := S_ISLNK(found.st_mode):
            found = path.stat()
        place = hash((found.st_dev, found.st_ino))
        width, height, kind, note = header_of(data, path)
    except BadImageError as bad:
        return Examined(None, None, None, size, digest, bad.reason, place, linked)
    return Examined(width, height, kind, size, digest, None, place, linked, note)
