"""Time two ways of doing the same thing in turn, and keep what was measured.

A machine that others use changes its speed from minute to minute. Both ways therefore run in
pairs, one right after the other, and what counts is the median of the ratios within the pairs.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Comparison:
    """One way against another.

    Attributes:
        what: The work, with its size.
        unit: Of the numbers, e.g. ``"ms an image"``; less is better.
        baseline: What the plain way took, pair by pair.
        ours: What ours took.
        goal: Ratio of the two to reach; None where there is none.
        limit: The least that this machine allows, in ``unit``; None where it is not known.
        limit_is: What bounds it, and how that was measured.
        at: Sizes, for a plot of cost against size.
    """

    what: str
    unit: str
    baseline: Sequence[float]
    ours: Sequence[float]
    goal: float | None = None
    limit: float | None = None
    limit_is: str = ""
    at: Mapping[str, float] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """As a row of a table, see ``HEAD``."""
        ratios = sorted(old / new for old, new in zip(self.baseline, self.ours, strict=True))
        ratio, ours = statistics.median(ratios), statistics.median(self.ours)
        met = "" if self.goal is None else f"{self.goal:g}x: {_met(ratio, self.goal)}"
        limit = "" if self.limit is None else f"{number(self.limit)} ({self.limit / ours:.0%})"
        return [
            self.what,
            self.unit,
            number(statistics.median(self.baseline)),
            number(ours),
            f"{number(ratio)}x ({number(ratios[0])} to {number(ratios[-1])}, n={len(ratios)})",
            met,
            f"{limit}; {self.limit_is}" if limit and self.limit_is else limit or self.limit_is,
        ]


HEAD = ["what", "unit", "plain", "ours", "ratio (range)", "goal", "limit (share reached)"]


def number(value: float) -> str:
    """Write with three significant digits."""
    if value == 0 or not 0.001 <= abs(value) < 10_000_000:
        return f"{value:.3g}"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:,.{digits}f}"


def pairs(
    baseline: Callable[[], object], ours: Callable[[], object], rounds: int = 7
) -> tuple[list[float], list[float]]:
    """Seconds of both, in turn, ``rounds`` times; a first pair warms up and is not counted."""
    times = [(seconds(baseline), seconds(ours)) for _ in range(rounds + 1)][1:]
    return [old for old, _ in times], [new for _, new in times]


def seconds(work: Callable[[], object]) -> float:
    """Elapsed time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def elsewhere(
    make: Callable[..., Callable[[], object]], *arguments: object
) -> Iterator[Callable[[], None]]:
    """What ``make(*arguments)`` returns, to be called here and run in a process of its own.

    For work that changes its process: how that keeps memory, or how many threads it has.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments))
    process.start()
    there.close()

    def call() -> None:
        here.send(True)
        here.recv()

    try:
        yield call
    finally:
        if process.is_alive():
            here.send(False)
        process.join()


def _serve(
    pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple[object, ...]
) -> None:
    work = make(*arguments)
    while pipe.recv():
        work()
        pipe.send(None)


class Report:
    """What one module measured.

    Args:
        name: Of the module.
        about: Its docstring: the first line is the title.
        command: What measured it; None for ``python -m benchmarks.<name>``.
    """

    def __init__(self, name: str, about: str | None, command: str | None = None) -> None:
        self.name = name
        self.title = (about or name).strip().splitlines()[0].rstrip(".")
        self.command = command or f"python -m benchmarks.{name}"
        self.comparisons: list[Comparison] = []
        self.tables: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def add(self, comparison: Comparison) -> None:
        """Keep a comparison."""
        self.comparisons.append(comparison)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Keep what is no comparison."""
        cells = [[c if isinstance(c, str) else number(float(str(c))) for c in row] for row in rows]
        self.tables.append({"title": title, "head": list(head), "rows": cells})

    def note(self, text: str) -> None:
        """Keep a sentence."""
        self.notes.append(text)

    def write(self, folder: Path = RESULTS) -> None:
        """Write ``<folder>/<name>.json`` and print it as tables."""
        content = {
            "title": self.title,
            "command": self.command,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": describe(),
            "comparisons": [asdict(each) | {"cells": each.cells()} for each in self.comparisons],
            "tables": self.tables,
            "notes": self.notes,
        }
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1) + "\n"
        (folder / f"{self.name}.json").write_text(text)
        self._print()

    def _print(self) -> None:
        console = Console()
        if self.comparisons:
            rows = [each.cells() for each in self.comparisons]
            console.print(_rich(self.title, HEAD, rows))
        for table in self.tables:
            console.print(_rich(table["title"], table["head"], table["rows"]))
        for note in self.notes:
            console.print(f"* {note}", highlight=False)


def _rich(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*head, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _met(ratio: float, goal: float) -> str:
    return "met" if ratio >= goal else "not met"
