"""Verdicts before and now as a table, row by row."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from owdfa.case.table import harmless
from owdfa.files import atomic, holds_mark
from owdfa.records.verdict import FileVerdict, Verdict
from owdfa.stages.rescan.reasons import Kind

COLUMNS = (
    *("path", "sha256", "face", "before", "probability_before", "now", "probability_now"),
    *("change", "group", "reason"),
)
Write = Callable[["Compared"], None]


class Compared(NamedTuple):
    """A verdict before and now; or a file that is not there, with one before alone."""

    path: str
    sha256: str | None
    face: int  # from 1, of the verdicts before and then of those that are of no earlier face
    before: str | None  # outcome; None where the face was not found
    probability_before: float | None
    now: str | None  # None where the face is not found, or the file is not there
    probability_now: float | None
    change: Kind | None  # None where the file is not there
    group: str | None  # id of the named group that the file is in
    reason: str


def compare(
    file: FileVerdict, number: int, pair: tuple[Verdict | None, Verdict | None]
) -> Compared:
    """The row of a face, or of a file that is not there, without a reason."""
    (before, sure_before), (now, sure_now) = (
        (each.outcome.brief, each.probability) if each else (None, None) for each in pair
    )
    about = (file.path, file.sha256, number)
    return Compared(*about, before, sure_before, now, sure_now, None, None, "")


@contextmanager
def writing_table(path: Path | None) -> Iterator[Write]:
    """Write a CSV file, row by row, whole or not at all; without a path, nothing.

    Raises:
        UserError: Something other than such a table is there, or it cannot be written.
    """
    if path is None:
        yield _nothing
        return
    with (
        atomic(path, lambda found: holds_mark(found, ",".join(COLUMNS).encode())) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(row: Compared) -> None:
            writer.writerow([harmless(cell) for cell in row])

        yield write


def _nothing(row: Compared) -> None:
    """For no table."""
