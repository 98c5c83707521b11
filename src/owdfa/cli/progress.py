"""Progress on the terminal: a live bar for people, a line now and then for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG_SECONDS = 15.0  # between two lines where there is no terminal

Report = Callable[[int, int, str], None]


@contextmanager
def bar(label: str) -> Iterator[Report]:
    """Show how far a stage is; yields ``report(done, total, note)``."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, label)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


@contextmanager
def counter(label: str) -> Iterator[Callable[[int, int], None]]:
    """The same for a stage that only counts; yields ``report(done, total)``."""
    with bar(label) as report:
        yield lambda done, total: report(done, total, "")


class _Lines:
    """Plain lines, at most one in ``_LOG_SECONDS``, and always the last."""

    def __init__(self, console: Console, label: str) -> None:
        self.console = console
        self.label = label
        self.started = time.monotonic()
        self.printed = self.started

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done < total and now - self.printed < _LOG_SECONDS:
            return
        self.printed = now
        took = now - self.started
        self.console.print(f"{self.label:<10} {done}/{total}  {note}  {took:.0f} s", highlight=False)
