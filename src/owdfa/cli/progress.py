"""Progress on the terminal: a live bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from owdfa.progress import OnProgress

_LOG_SECONDS = 15.0  # between two lines where there is no terminal


@contextmanager
def progress_bar(label: str) -> Iterator[OnProgress]:
    """Show how far a stage is; yields what the stage reports to."""
    if not sys.stderr.isatty():
        yield _Lines(label)
        return
    from rich import progress as rich  # rich takes a while to import: not for --help
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description:<16}"),
        rich.BarColumn(bar_width=20),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None, note="")

        def report(done: int, total: int, note: str = "", /) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def print_note(note: str) -> None:
    """Print what the user should know."""
    typer.echo(f"note: {note}")


class _Lines:
    """Plain lines, at most one in ``_LOG_SECONDS``, and always the last."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.started = time.monotonic()
        self.printed = self.started

    def __call__(self, done: int, total: int, note: str = "", /) -> None:
        now = time.monotonic()
        if done < total and now - self.printed < _LOG_SECONDS:
            return
        self.printed = now
        took = now - self.started
        typer.echo(f"{self.label:<16} {done}/{total}  {note}  {took:.0f} s", err=True)
