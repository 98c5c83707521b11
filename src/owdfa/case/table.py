"""Verdicts as a table for a spreadsheet: one row a verdict, in the order of the verdicts."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
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
