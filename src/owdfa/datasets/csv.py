r"""A CSV file: columns ``path`` and ``class``, and if need be ``family``, ``source``, ``group``.

Paths are relative to the file's folder; ``~/`` is the home folder, and ``\`` stands for ``/``
where only that is a file. An empty class is an image that nobody labelled, an empty or missing
group an image that stands alone. ``width`` and ``height`` may be there and are not read: the image
says them itself; nor are columns without a name in front, as pandas writes its index.

The first line says by its columns whether commas, semicolons or tabs separate the cells. The
text is UTF-8, or UTF-16 where its first bytes say so.
"""

import codecs
import csv
import re
from array import array
from collections.abc import Iterator
from os.path import expanduser, normpath
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from owdfa.catalog import nearest
from owdfa.datasets.base import ImageEntry, composed, root_path
from owdfa.errors import UserError
from owdfa.records.rows import duplicated
from owdfa.signatures import HEAD, identify

DESCRIPTION = "a CSV file with columns path, class and, if wanted, family, source, group"
PROTOCOL: str | None = None
FACES = "dlib"

_REQUIRED = ("path", "class")
_KNOWN = [*_REQUIRED, "family", "source", "group", "width", "height"]
_SEPARATORS = ",;\t"
_NAMELESS = re.compile(r"unnamed: \d+(\.\d+)*")  # what pandas calls a column without a name
_INDEX = "index"  # columns without a name in front of all others
_NO_CLASS = frozenset(
    ("-1", "nan", "none", "null", "n/a", "na", "<na>", "unlabelled", "unlabeled", "unknown")
)


class _Table(NamedTuple):
    """How the rows of a file are read."""

    file: Path
    columns: list[str]  # "" for one without a name


def read(root: str) -> Iterator[ImageEntry]:
    """List the images that the CSV file ``root`` names.

    Raises:
        UserError: The file is missing or is no CSV, has an unknown column or lacks one, or has a
            row of another length, without a path, with the path of another row, or with a class
            such as ``-1`` or ``nan``, of which nobody knows whether it is one.
    """
    file = root_path(root)
    lines, hashes = array("q"), array("q")  # of each id; the ids themselves would be most of all
    for line, entry in _rows(file):
        lines.append(line)
        hashes.append(hash(entry.id))
        yield entry
    _check_twice(file, np.array(lines), np.array(hashes))


def _rows(file: Path) -> Iterator[tuple[int, ImageEntry]]:
    """Every row, with its line."""
    try:
        with file.open(encoding=_encoding(file), newline="") as stream:
            separator = _separator(stream)
            rows = csv.reader(stream, strict=True, delimiter=separator)
            table = _Table(file, _columns(next(rows, []), file))
            for cells in filter(None, rows):  # an empty line is no row
                yield rows.line_num, _entry(cells, table, rows.line_num)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); name a CSV file") from None
    except (csv.Error, UnicodeError) as error:
        raise UserError(f"{file}: is not CSV in UTF-8 ({error}); save it as that") from None


def _encoding(file: Path) -> str:
    """UTF-8 or UTF-16, by the first bytes.

    Raises:
        UserError: They are of something other than text.
    """
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    found = identify(head).name
    if head and found != "text":
        raise UserError(f"{file}: is not CSV in UTF-8 ({found}); save it as that")
    return "utf-8-sig"


def _separator(stream: TextIO) -> str:
    """The separator under which the first line names most columns; the stream is at its start."""
    line = stream.readline()
    stream.seek(0)
    cells = {
        mark: next(csv.reader([line], delimiter=mark), []) if line else [] for mark in _SEPARATORS
    }
    return max(_SEPARATORS, key=lambda mark: len({*map(_plain, cells[mark])}.intersection(_KNOWN)))


def _plain(name: str) -> str:
    name = name.strip().lower()
    return "" if _NAMELESS.fullmatch(name) else name


def _check_twice(file: Path, lines: np.ndarray, hashes: np.ndarray) -> None:
    """Raise when two rows name the same file: they are among those with equal hashes."""
    suspected = frozenset(lines[duplicated(hashes)].tolist())
    first: dict[str, int] = {}
    for line, entry in _rows(file) if suspected else ():
        if line in suspected and first.setdefault(entry.id, line) != line:
            where = f"lines {first[entry.id]} and {line}"
            raise UserError(f"{file}: {where} name the same file {entry.id!r}; keep one")


def _columns(header: list[str], file: Path) -> list[str]:
    """The names in the first line, when each is known and occurs once."""
    columns = [_plain(name) for name in header]
    named = [bool(name) for name in columns]
    first = named.index(True) if any(named) else 0
    for written, name in zip(header, columns, strict=True):
        if name and name not in _KNOWN:
            raise UserError(f"{file}: unknown column {written.strip()!r}{nearest(name, _KNOWN)}")
        if name and columns.count(name) > 1:
            raise UserError(f"{file}: two columns are named {name!r}; keep one")
    for name in _REQUIRED:
        if name not in columns:
            raise UserError(f"{file}: has no column {name!r}; its first line must name it")
    return [_INDEX] * first + columns[first:]


def _entry(cells: list[str], table: _Table, line: int) -> ImageEntry:
    """One row."""
    file, columns = table
    if len(cells) != len(columns):
        raise UserError(f"{file}, line {line}: {len(cells)} cells under {len(columns)} columns")
    for name, cell in zip(columns, cells, strict=True):
        if not name and cell.strip():
            raise UserError(f"{file}, line {line}: {cell!r} stands in a column without a name")
    row = dict(zip(columns, cells, strict=True))
    written = row.pop("path")
    if not written.strip():
        raise UserError(f"{file}, line {line}: the path is empty; fill it in or remove the line")
    path, written = _path(written, file.parent)
    inside = path.is_relative_to(file.parent)
    identity = path.relative_to(file.parent).as_posix() if inside else normpath(written)
    row = {name: composed(cell.strip()) for name, cell in row.items()}
    class_, family, source = (row.get(name) or None for name in ("class", "family", "source"))
    if class_ is not None and class_.lower() in _NO_CLASS:
        raise UserError(
            f"{file}, line {line}: the class is {class_!r}; leave the cell empty if nobody labelled"
            " the image, or name the class otherwise"
        )
    return ImageEntry(identity, path, class_, family, source, row.get("group") or identity)


def _path(written: str, folder: Path) -> tuple[Path, str]:
    """Where a file is, and how that is written here."""
    if written.startswith("~/"):
        written = expanduser(written)  # noqa: PTH111  Path's raises without a home
    path = Path(normpath(folder / written))
    if "\\" in written and not path.exists():
        there = written.replace("\\", "/")
        if (folder / there).exists():
            return Path(normpath(folder / there)), there
    return path, written
