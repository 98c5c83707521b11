"""Verdicts as a table for a spreadsheet: one row a verdict, in the order of the verdicts."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, final

from owdfa.case.items import Items, Row
from owdfa.case.journal import append_bytes
from owdfa.files import atomic, holds_mark
from owdfa.records.verdict import FileVerdict, Verdict

COLUMNS = (
    *("path", "sha256", "format", "width", "height", "jpeg_quality", "num_bytes"),
    *("face", "left", "top", "right", "bottom", "size", "blur"),
    *("outcome", "reason", "probability", "statement", "threshold", "log10_ratio"),
    *("alternative", "alternative_probability", "sentence"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_verdict_table(path: Path, verdicts: Iterable[FileVerdict]) -> None:
    """Write the table, whole or not at all.

    Raises:
        UserError: Something other than such a table is there, or it cannot be written.
    """
    with (
        atomic(path, lambda found: holds_mark(found, ",".join(COLUMNS).encode())) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        csv.writer(stream, lineterminator="\n").writerow(COLUMNS)
        _add_rows(stream, verdicts)


@final
class VerdictTable:
    """The table of a case that stays open: where verdicts of new inputs alone came, they are added.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: os.stat_result | None = None  # as it was left
        self._rows: Sequence[Row] = ()  # of what is in it

    def update(self, items: Items) -> None:
        """Write what is to be in it.

        Raises:
            UserError: Something other than such a table is there, or it cannot be written.
        """
        num = len(self._rows)
        # A verdict that is replaced moves to the end: the last row would be another one.
        grown = 0 < num <= len(items) and items.rows[num - 1] == self._rows[-1]
        if self._written is not None and grown and _is_as_left(self.path, self._written):
            stream = StringIO()
            _add_rows(stream, (item.verdict for item in items[num:]))
            new = stream.getvalue().encode(errors="backslashreplace")
            append_bytes(self.path, self._written.st_size, new)
        else:
            write_verdict_table(self.path, (item.verdict for item in items))
        self._written, self._rows = self.path.stat(), items.rows


def _is_as_left(path: Path, left: os.stat_result) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return all(getattr(found, x) == getattr(left, x) for x in ("st_ino", "st_size", "st_mtime_ns"))


def _add_rows(stream: TextIO, verdicts: Iterable[FileVerdict]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    for verdict in verdicts:
        writer.writerows(_rows(verdict))


def _rows(file: FileVerdict) -> Iterator[Sequence[Any]]:
    about = (file.path, file.sha256, file.format, file.width, file.height, file.jpeg_quality)
    for number, verdict in enumerate(file.verdicts, start=1):
        row = (*about, file.num_bytes, number, *_place(verdict), *_said(verdict))
        yield [harmless(cell) for cell in row]


def _place(verdict: Verdict) -> tuple[Any, ...]:
    box = verdict.box
    edges = (None,) * 4 if box is None else (box.left, box.top, box.right, box.bottom)
    return (*edges, verdict.size, verdict.blur)


def _said(verdict: Verdict) -> tuple[Any, ...]:
    point, others = verdict.operating_point, verdict.alternatives[:1]
    return (
        verdict.outcome.label,
        verdict.outcome.reason,
        verdict.probability,
        point.statement if point else None,
        point.threshold if point else None,
        verdict.log10_ratio,
        *((others[0].name, others[0].probability) if others else (None, None)),
        verdict.sentence,
    )


def harmless(cell: Any) -> Any:
    """Text that a spreadsheet would compute is made text: names of files are anybody's."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
