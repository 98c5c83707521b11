"""``owdfa report`` of a run or a case, and ``owdfa verify`` of the latter."""

from pathlib import Path
from typing import Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import MovedSplit, Output, Store
from owdfa.errors import UserError

CaseRuns = Annotated[
    list[Path] | None, typer.Option("--run", help="The run of a case, if it was moved.")
]


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a case.", metavar="RUN|CASE")],
    output: Output,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="A run to compare a run with; may be given several times."),
    ] = None,
    run: CaseRuns = None,
    split: MovedSplit = None,
    store: Store = None,
) -> None:
    """Write one HTML page of what a run found, or of the evidence in a case; readable offline."""
    from owdfa.case import is_case
    from owdfa.stages.evidence import report_case
    from owdfa.stages.report import report as stage

    if is_case(folder):
        if baseline:
            raise UserError(f"{folder}: is a case, not a run; leave --baseline out")
        for note in report_case(folder, output, runs=run or (), split=split, store=store):
            print_note(note)
    else:
        if run:
            raise UserError(f"{folder}: is not a case; leave --run out")
        with progress_bar("report") as show:
            stage(folder, output, beside=baseline or (), split=split, store=store, on_progress=show)
    typer.echo(f"{output}")


def verify(
    page: Annotated[Path, typer.Argument(help="What owdfa report wrote of a case.")],
    case: Annotated[Path, typer.Option("--case", help="The case.")],
    run: CaseRuns = None,
    split: MovedSplit = None,
    store: Store = None,
) -> None:
    """Compute an evidence report anew and compare; exit 1 and a line for each difference."""
    from owdfa.stages.verify import verify as stage

    with progress_bar("verify") as show:
        found = stage(page, case, runs=run or (), split=split, store=store, on_progress=show)
    for note in found.notes:
        print_note(note)
    for line in found.differences:
        typer.echo(line)
    if found.differences:
        raise typer.Exit(1)
    typer.echo(f"{page}: holds: {found.summary}")
