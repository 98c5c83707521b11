"""Image files that a command names: a folder, files, or a list in Parquet; one by one.

A list is a Parquet file with a column ``path``, relative to the current folder or absolute; a
manifest is one. ``id`` is what an image is called in the predictions; without that column it is
the path, and of a path that stands in several rows the second is called ``path#2``, and so on.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from owdfa.datasets.folder import files_below
from owdfa.errors import UserError
from owdfa.images.bad import PASSED_OVER
from owdfa.records.rows import duplicated
from owdfa.signatures import identify_file

_ROWS = 1 << 14  # of a list at once


class ImageFile(NamedTuple):
    """An image file; in order of id."""

    id: str
    path: str


@dataclass(frozen=True)
class ImageFiles:
    """The images that a command names.

    Attributes:
        name: What they are called, for the record.
        files: Yields each once; memory does not grow with their number, save eight bytes each.
        passed_over: Path and reason of each file beside them that is no image; whole when
            ``files`` has come to its end.
    """

    name: str
    files: Iterator[ImageFile]
    passed_over: list[tuple[str, str]] = field(default_factory=list)


def name_files(images: str | Path | Sequence[Path]) -> ImageFiles:
    """Find the image files of a folder, of a list, or those that are named.

    Raises:
        UserError: A file is named twice. ``files`` raises it for what cannot be read.
    """
    if not isinstance(images, str | Path):
        files = {written(path): path for path in images}
        if len(files) < len(images):
            raise UserError(f"{len(images)} files: one of them is named twice; name each once")
        found = (ImageFile(id_, str(path)) for id_, path in files.items())
        return ImageFiles(f"{len(images)} files", found)
    place = Path(images)
    if place.is_dir():
        passed_over: list[tuple[str, str]] = []
        return ImageFiles(str(images), _below(place, passed_over), passed_over)
    if _is_parquet(place):
        return ImageFiles(str(images), _listed(place))
    return ImageFiles(str(images), iter([ImageFile(written(place), str(place))]))


def no_images(named: ImageFiles) -> UserError:
    """The error where there are none."""
    others = f" ({len(named.passed_over)} other files)" if named.passed_over else ""
    return UserError(f"{named.name}: no images there{others}; name a folder that holds some")


def _below(folder: Path, passed_over: list[tuple[str, str]]) -> Iterator[ImageFile]:
    for path, reason in files_below(folder):
        if reason is None:
            yield ImageFile(written(path.relative_to(folder)), str(path))
        else:
            passed_over.append((str(path), f"{PASSED_OVER} ({reason})"))


def _is_parquet(path: Path) -> bool:
    try:
        return identify_file(path).name == "Parquet"
    except OSError:  # said of it as of any image that cannot be read
        return False


def _listed(path: Path) -> Iterator[ImageFile]:
    """The rows of a list."""
    with _reading(path):
        names = pq.read_schema(path).names
    if "path" not in names:
        raise UserError(f"{path}: is no list of images: it lacks a column 'path'")
    key = "id" if "id" in names else "path"
    hashes = (np.fromiter(map(hash, cells), np.int64) for (cells,) in _columns(path, [key]))
    # Equal texts have equal hashes; the texts themselves are compared where hashes are equal.
    repeated = duplicated(np.concatenate([np.empty(0, np.int64), *hashes]))
    seen: Counter[str] = Counter()
    first = 0
    for ids, paths in _columns(path, [key, "path"]):
        last = first + len(ids)
        for row in repeated[np.searchsorted(repeated, first) : np.searchsorted(repeated, last)]:
            name = ids[row - first]
            seen[name] += 1
            if seen[name] > 1:
                ids[row - first] = _repeated_name(path, key, name, seen[name])
        yield from map(ImageFile, ids, paths)
        first = last


def _repeated_name(path: Path, key: str, name: str, number: int) -> str:
    if key == "id":
        raise UserError(f"{path}: several rows have the id {name!r}; give each row one of its own")
    return f"{name}#{number}"


def _columns(path: Path, names: list[str]) -> Iterator[tuple[list[str], ...]]:
    """Some rows of a list at a time: the cells of each column."""
    first = 0
    with _reading(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, columns=sorted(set(names))):
            cells = {name: batch[name].to_pylist() for name in set(names)}
            for name, column in cells.items():
                for row, cell in enumerate(column, first):
                    if not isinstance(cell, str) or not cell:
                        raise UserError(f"{path}: row {row} has no text in the column {name!r}")
            yield tuple(list(cells[name]) for name in names)
            first += batch.num_rows


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a list of images ({reason})") from None


def written(path: Path) -> str:
    """A path as an id: bytes that are not UTF-8 are written out in hexadecimal."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
