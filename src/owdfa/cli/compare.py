"""``owdfa compare``: methods, protocols and seeds in one grid, one table."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import Config, Output, Ray, Recipe, Rule, Set, Validation, names
from owdfa.errors import UserError


def add_compare(app: typer.Typer) -> None:
    """Add ``compare`` to ``app``, and the command by which it starts its processes."""
    app.command(short_help="Train a grid of methods, one table.")(compare)
    app.command(hidden=True)(compare_cell)


def compare(
    output: Output,
    methods: Annotated[
        str,
        typer.Option(help="Rows, e.g. cal,cdal+cpl,supervised@all-tiny,cal:method.ccr_weight=0."),
    ],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Data sets, e.g. owdfa40:DIR; lab: needs none.")
    ] = None,
    protocols: Annotated[str, typer.Option(help="Protocols, separated by commas.")] = "lab/p1",
    classes: Annotated[
        str, typer.Option(help="What methods are told of K: true, auto, auto:gcd or a number.")
    ] = "true",
    seeds: Annotated[str, typer.Option(help="Seeds of training: 0..4 or 0,1,2.")] = "0..2",
    split_seeds: Annotated[str, typer.Option(help="Seeds of the split.")] = "2025",
    rule: Rule = None,
    validation: Validation = None,
    recipe: Recipe = "tiny",
    config: Config = None,
    settings: Set = None,
    against: Annotated[
        str | None, typer.Option(help="Row to compare with; the first by default.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells side by side; 0 is one for two cores.")] = 0,
    ray: Ray = None,
    cpus: Annotated[float, typer.Option(help="With --ray: cores for a cell.")] = 1,
    gpus: Annotated[float, typer.Option(help="With --ray: GPUs for a cell, or a share.")] = 0,
) -> None:
    """Train every cell of a grid, and write one table; goes on where it was stopped."""
    from owdfa.cli.tables import print_comparison
    from owdfa.compare import compare as whole
    from owdfa.compare.grid import GridOptions, numbers
    from owdfa.compare.workers import Cluster, Local
    from owdfa.config import parse_settings

    given = {
        "sources": tuple(sources or ()),
        "methods": _parts(methods, "--methods"),
        "protocols": _parts(protocols, "--protocols"),
        "classes": _parts(classes, "--classes"),
        "seeds": numbers(seeds, "--seeds"),
        "split_seeds": numbers(split_seeds, "--split-seeds"),
        "rule": rule or "group",
        "validation": validation or 0.0,
        "recipe": recipe,
        "config": config,
        "overrides": tuple(settings or ()),
        "against": against,
    }
    options = parse_settings(GridOptions, given, "compare")
    workers = Cluster(ray, cpus, gpus) if ray else Local.of(jobs)
    command = shlex.join(["owdfa", *sys.argv[1:]])
    found = whole(output, options, workers, show=progress_bar, tell=print_note, command=command)
    print_comparison(found.table)
    if found.page is not None:
        typer.echo(f"table: {output / 'table.md'}, page: {found.page}")
    if found.failed:
        raise typer.Exit(1)


def compare_cell(root: Path, cell: str) -> None:
    """Run one cell of a comparison: what owdfa compare starts."""
    from owdfa.compare.cell import run_as_process

    run_as_process(root, cell)


def _parts(text: str, option: str) -> tuple[str, ...]:
    parts = tuple(part for part in names(text) or () if part)
    if not parts:
        raise UserError(f"{option}: names nothing")
    return parts
