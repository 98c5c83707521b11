"""A CSV file: columns ``path`` and ``class``, and if need be ``family``, ``source``, ``group``.

Paths are relative to the file's folder. An empty class is an image that nobody labelled, an empty
or missing group an image that stands alone. ``width`` and ``height`` may be there and are not
read: the image says them itself.
"""

import csv
from array import array
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path

import numpy as np

from owdfa.catalog import nearest
from owdfa.datasets.base import Listing
from owdfa.errors import UserError
from owdfa.records.rows import duplicated

DESCRIPTION = "a CSV file with columns path, class and, if wanted, family, source, group"
PROTOCOL: str | None = None
FACES = "dlib"

_REQUIRED = ("path", "class")
_OPTIONAL = ("family", "source", "group", "width", "height")


def read(root: str) -> Iterator[Listing]:
    """List the images that the CSV file ``root`` names.

    Raises:
        UserError: The file is missing or is not CSV in UTF-8, has an unknown column or lacks one,
            or has a row of another length, without a path, or with the path of another row.
    """
    file = Path(root).absolute()
    lines, hashes = array("q"), array("q")  # of each id; the ids themselves would be most of all
    for line, listing in _rows(file):
        lines.append(line)
        hashes.append(hash(listing.id))
        yield listing
    _check_twice(file, np.array(lines), np.array(hashes))


def _rows(file: Path) -> Iterator[tuple[int, Listing]]:
    """Every row, with its line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            columns = _columns(next(rows, []), file)
            for cells in filter(None, rows):  # an empty line is no row
                yield rows.line_num, _listing(cells, columns, file, rows.line_num)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); name a CSV file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is not CSV in UTF-8 ({error}); save it as that") from None


def _check_twice(file: Path, lines: np.ndarray, hashes: np.ndarray) -> None:
    """Raise when two rows name the same file: they are among those with equal hashes."""
    suspected = frozenset(lines[duplicated(hashes)].tolist())
    first: dict[str, int] = {}
    for line, listing in _rows(file) if suspected else ():
        if line in suspected and first.setdefault(listing.id, line) != line:
            where = f"lines {first[listing.id]} and {line}"
            raise UserError(f"{file}: {where} name the same file {listing.id!r}; keep one")


def _columns(header: list[str], file: Path) -> list[str]:
    """The names in the first line, when each is known and occurs once."""
    columns = [name.strip() for name in header]
    known = [*_REQUIRED, *_OPTIONAL]
    for name in columns:
        if name not in known:
            raise UserError(f"{file}: unknown column {name!r}{nearest(name, known)}")
        if columns.count(name) > 1:
            raise UserError(f"{file}: two columns are named {name!r}; keep one")
    for name in _REQUIRED:
        if name not in columns:
            raise UserError(f"{file}: has no column {name!r}; its first line must name it")
    return columns


def _listing(cells: list[str], columns: list[str], file: Path, line: int) -> Listing:
    """One row."""
    if len(cells) != len(columns):
        raise UserError(f"{file}, line {line}: {len(cells)} cells under {len(columns)} columns")
    row = dict(zip(columns, cells, strict=True))
    written = row.pop("path")
    if not written.strip():
        raise UserError(f"{file}, line {line}: the path is empty; fill it in or remove the line")
    path = Path(normpath(file.parent / written))
    inside = path.is_relative_to(file.parent)
    identity = path.relative_to(file.parent).as_posix() if inside else normpath(written)
    row = {name: cell.strip() for name, cell in row.items()}
    class_, family, source = (row.get(name) or None for name in ("class", "family", "source"))
    return Listing(identity, path, class_, family, source, row.get("group") or identity)
