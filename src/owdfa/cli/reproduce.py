"""``owdfa reproduce``: a published row, trained on the user's images, beside its numbers."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import Config, Ray, Set
from owdfa.errors import UserError

if TYPE_CHECKING:
    from owdfa.reproduce.rows import PublishedRow
    from owdfa.reproduce.tables import Reproduction


def add_reproduce(app: typer.Typer) -> None:
    """Add ``reproduce`` to ``app``."""
    app.command(short_help="Train a published row, compare its numbers.")(reproduce)


def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ROW SOURCE",
            help="E.g. cal/owdfa40-p1-unknown-k owdfa40:DIR; with --list, words to look for.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write, or to go on in.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the published rows and their numbers.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds of training, 0..2; default: as many as published.")
    ] = None,
    split_seeds: Annotated[str | None, typer.Option(help="Seeds of the split, 2025,2026.")] = None,
    rule: Annotated[
        str, typer.Option(help="group also trains the row on a split that cuts no group.")
    ] = "paper",
    recipe: Annotated[
        str | None, typer.Option(help="Another recipe than the paper's, e.g. gpu or tiny.")
    ] = None,
    config: Config = None,
    settings: Set = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Score this official checkpoint; train nothing.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Trainings side by side.")] = 1,
    ray: Ray = None,
    cpus: Annotated[float, typer.Option(help="With --ray: cores for a training.")] = 1,
    gpus: Annotated[float, typer.Option(help="With --ray: GPUs for a training.")] = 0,
) -> None:
    """Train a published row on your images, as published and with the last checkpoint.

    Prints ours, published, difference and a verdict; goes on where it was stopped.
    """
    if list_:
        _print_list(words or [])
        return
    row, source, folder = _arguments(words or [], output, rule)
    from owdfa.compare.grid import numbers
    from owdfa.compare.workers import Cluster, Local
    from owdfa.config import parse_settings
    from owdfa.reproduce import ReproduceOptions
    from owdfa.reproduce import reproduce as whole

    given = {
        "row": row,
        "source": source,
        "seeds": numbers(seeds, "--seeds") if seeds else None,
        "split_seeds": numbers(split_seeds, "--split-seeds") if split_seeds else None,
        "recipe": recipe,
        "config": config,
        "overrides": tuple(settings or ()),
        "group": rule == "group",
        "checkpoint": checkpoint,
    }
    options = parse_settings(ReproduceOptions, given, "reproduce")
    workers = Cluster(ray, cpus, gpus) if ray else Local(max(1, jobs))
    command = shlex.join(["owdfa", *sys.argv[1:]])
    made = whole(folder, options, workers, show=progress_bar, tell=print_note, command=command)
    _print_outcome(made, folder)
    if made.failed:
        raise typer.Exit(1)


def _arguments(words: Sequence[str], output: Path | None, rule: str) -> tuple[str, str, Path]:
    """Row, source and folder.

    Raises:
        UserError: One is missing, or the rule is none.
    """
    if rule not in ("paper", "group"):
        raise UserError(f"--rule {rule}: write paper or group")
    if not words:
        raise UserError("reproduce: name a row and its images; owdfa reproduce --list has the rows")
    from owdfa.reproduce.rows import find_row

    row = find_row(words[0])  # before anything else: a row that cannot be run needs no images
    if len(words) != 2:
        raise UserError(
            f"{row.name}: name its images and nothing else, e.g. owdfa reproduce {row.name}"
            f" {row.dataset}:PATH -o DIR"
        )
    if output is None:
        raise UserError(f"{row.name}: say where to write with -o DIR")
    return row.name, words[1], output


def _print_list(words: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from owdfa.reproduce.rows import NO_METHOD, rows_with

    console, rows = Console(), rows_with(words)
    blocks = {(row.dataset, row.entry.paper): row for row in rows}
    for key, first in blocks.items():
        title = f"{first.benchmark.title} ({first.paper.cite}, {first.paper.link})"
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        table.add_column("row", min_width=30, no_wrap=True)
        for head in ("All", "Known", "Novel", "types"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in (each for each in rows if (each.dataset, each.entry.paper) == key):
            table.add_row(*_listed(row))
        console.print(table, highlight=False)
        console.print()
    lines = ["Accuracies in %, the paper's convention; types: estimated number of classes."]
    if all(row.entry.selection == "oracle" for row in rows):
        lines.append("All of these chose the checkpoint by test labels.")
    if any(row.why_not for row in rows):
        lines.append(f"* {NO_METHOD}; or, of a method that there is, why it cannot be run.")
    for line in lines:
        console.print(line, highlight=False)


def _listed(row: "PublishedRow") -> list[str]:
    from owdfa.reproduce.tables import accuracies

    mark = "published only *" if row.why_not else ""
    return [row.name, *accuracies(row), str(row.num_classes or ""), mark]


def _print_outcome(made: "Reproduction", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from owdfa.reproduce.tables import HEADS, JSON, TABLE, rows_of

    console = Console()
    table = Table(box=None, pad_edge=False, title=made.row.name, title_justify="left")
    for head in HEADS:
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for cells in rows_of(made):
        table.add_row(*cells)
    console.print(table, highlight=False)
    for line in made.remarks:
        console.print(line, highlight=False, markup=False)
    typer.echo(f"table: {folder / TABLE}, numbers: {folder / JSON}")
