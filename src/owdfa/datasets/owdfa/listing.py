"""Read the CSV of OW-DFA, and draw training images from it as the authors' release does.

Columns: img_path, label, method, image_source, tag (0 unused, 1 labelled, 2 unlabelled), face_type
(1 for a real face); others are not read, but for ``forgery_type``, and ``id`` and ``group``, which
``building`` writes. The paths of the published files are those of the authors' machine: an image
that is not there is looked for under ``<family>/<method>/<source>/<name>``, the layout of the
release, beside the folder of the CSV and in it.
"""

import csv
import re
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.datasets.base import ImageEntry, composed, root_path
from owdfa.datasets.owdfa.table import ALIASES, class_of
from owdfa.errors import UserError

COLUMNS = ("img_path", "label", "method", "image_source", "tag", "face_type")
"""What every CSV of OW-DFA has."""

_TAGS = {"0": 0, "1": 1, "2": 2, "0.0": 0, "1.0": 1, "2.0": 2}
_LEVELS = 4  # of the release's layout, the file among them
_VIDEOS = {  # what names the video, or the image that was edited, in a file's name in the release
    "FaceForensics++": re.compile(r"c\d+-(\d+)(?:_\d+)?-\d+\.\w+"),  # c23-<target>_<source>-<frame>
    "CelebDF": re.compile(r"(?:Celeb|YouTube)-real-(.+)-\d+\.\w+"),
    "ForgeryNet": re.compile(r"(.+)-[^-]*\d+\.\w+"),
    "DFFD": re.compile(r".*?F_([A-Za-z0-9]+_\d+).*"),
}


class _Row(NamedTuple):
    """A row of the CSV."""

    line: int
    id: str
    tag: int
    cells: dict[str, str]


def read(root: str) -> Iterator[ImageEntry]:
    """List the images that the CSV ``root`` names; those that the benchmark does not use pass over.

    Raises:
        UserError: It cannot be read, is no CSV, lacks a column, or has a row that is none.
    """
    file = root_path(root)
    seen: dict[str, int] = {}
    for row in _rows(file):
        first = seen.setdefault(row.id, row.line)
        reason = None if row.tag else "unused in the benchmark, tag 0"
        if first != row.line:
            reason = f"the same image as in line {first}"
        group = row.cells.get("group") or _group(row)
        place = _place(row.cells["img_path"], file.parent)
        yield ImageEntry(row.id, place, *_class(row), _source(row), group, reason)


def paper_roles(root: str, seed: int, training: float) -> dict[str, str]:
    """The role of every image in use, by id, as the release gives it: tags, and pandas' draw.

    Args:
        root: The CSV.
        seed: Of the draw.
        training: Share of each (image_source, label) that is drawn for training.

    Raises:
        UserError: As ``read``, or NumPy does not take the seed.
    """
    if not 0 <= seed < 2**32:
        raise UserError(
            f"--seed {seed}: must be from 0 to {2**32 - 1} for this data set's own draw"
        )
    rows = [row for row in _rows(root_path(root)) if row.tag]
    members: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        key = (row.cells["image_source"], row.cells["label"])
        members.setdefault(key, []).append(index)
    roles: dict[str, str] = {}
    for group in members.values():
        drawn = set(pandas_sample(len(group), training, seed).tolist())
        for place, index in enumerate(group):
            role = (
                ("labelled" if rows[index].tag == 1 else "unlabelled") if place in drawn else "test"
            )
            if roles.get(rows[index].id, "test") == "test":  # of an image in two rows
                roles[rows[index].id] = role
    return roles


def pandas_sample(num_rows: int, frac: float, seed: int) -> np.ndarray:
    """Places of the rows that ``DataFrame.sample(frac=frac, random_state=seed)`` draws.

    Pandas documents that it draws with NumPy's legacy generator, whose stream never changes.
    """
    state = np.random.RandomState(seed)
    return state.choice(num_rows, size=round(frac * num_rows), replace=False)


def _rows(file: Path) -> Iterator[_Row]:
    """Every row of the CSV."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            _check_columns(columns, file)
            for cells in filter(None, reader):
                where = f"{file}, line {reader.line_num}"
                if len(cells) != len(columns):
                    raise UserError(f"{where}: {len(cells)} cells under {len(columns)} columns")
                yield _row(dict(zip(columns, cells, strict=True)), reader.line_num, where)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); name a CSV file") from None
    except (csv.Error, UnicodeError) as error:
        raise UserError(f"{file}: is not CSV in UTF-8 ({error}); name a CSV of OW-DFA") from None


def _check_columns(columns: list[str], file: Path) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise UserError(
            f"{file}: has no column {missing[0]!r}; a CSV of OW-DFA has {', '.join(COLUMNS)}"
        )


def _row(cells: dict[str, str], line: int, where: str) -> _Row:
    tag = _TAGS.get(cells["tag"].strip())
    if tag is None:
        raise UserError(f"{where}: tag is {cells['tag']!r}; it must be 0, 1 or 2")
    written = cells["img_path"].strip().replace("\\", "/")
    if not written:
        raise UserError(f"{where}: img_path is empty; fill it in or remove the line")
    cells["img_path"] = written
    return _Row(line, composed(cells.get("id") or _identity(written)), tag, cells)


def _identity(written: str) -> str:
    """The path below the release's folder: the same on every machine."""
    return _tail(written) if written.startswith("/") else normpath(written).removeprefix("../")


def _tail(written: str) -> str:
    return "/".join(written.split("/")[-_LEVELS:]).lstrip("/")


def _place(written: str, folder: Path) -> Path:
    """Where a file is: as written, else where the release's layout has it."""
    tail = _tail(written)
    places = [
        Path(normpath(place)) for place in (folder / written, folder.parent / tail, folder / tail)
    ]
    return next((place for place in places if place.exists()), places[0])


def _class(row: _Row) -> tuple[str, str | None]:
    cells = row.cells
    forgery = cells.get("forgery_type", "").strip()
    name, family = class_of(cells["method"].strip(), cells["image_source"].strip(), forgery)
    return name, family or ("real" if cells["face_type"].strip() in ("1", "1.0") else None)


def _group(row: _Row) -> str:
    """Video of an image of the release, by its file's name; its id when it stands alone."""
    pattern = _VIDEOS.get(_source(row))
    found = pattern.fullmatch(row.id.rpartition("/")[2]) if pattern else None
    return f"{_source(row)}/{found[1]}" if found else row.id


def _source(row: _Row) -> str:
    source = row.cells["image_source"].strip()
    return ALIASES.get(source, source)
