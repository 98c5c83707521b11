"""``owdfa discover``, ``review``, ``promote``, ``rescan``: from unknown images to named types."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.data import Jobs
from owdfa.cli.progress import progress_bar
from owdfa.cli.stages import Output

if TYPE_CHECKING:
    from owdfa.stages.review import Made, Reviewer

CaseFolder = Annotated[Path, typer.Argument(help="The case.", metavar="CASE")]
GroupName = Annotated[str, typer.Argument(help="Id or name of a group.", metavar="GROUP")]
Head = Annotated[
    str | None,
    typer.Option(help="What list printed as head: refuse where groups have changed since."),
]

app = typer.Typer(help="Look at the groups of a case, and name, merge, split, move or reject them.")


def discover(
    case: CaseFolder,
    run: Annotated[
        Path | None, typer.Option(help="Run whose embeddings count; by default the case's last.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="density, or types for the novel types that the run found.")
    ] = "density",
    min_size: Annotated[int, typer.Option(help="Least images of a group.")] = 5,
    parts: Annotated[int, typer.Option(help="Parts of the images that test stability.")] = 10,
    seed: Annotated[int, typer.Option(help="Decides all that is random.")] = 0,
    jobs: Jobs = 0,
) -> None:
    """Group the images of a case that no known type was named for."""
    from owdfa.cli.groups import print_groups
    from owdfa.config import parse_settings
    from owdfa.stages.discover import DiscoverOptions
    from owdfa.stages.discover import discover as stage
    from owdfa.stages.review import Reviewer

    given = {"by": by, "min_size": min_size, "num_parts": parts, "seed": seed, "jobs": jobs}
    options = parse_settings(DiscoverOptions, given, "discover")
    with progress_bar("discover") as report:
        stage(case, run=run, options=options, on_progress=report)
    reviewer = Reviewer(case)
    print_groups(reviewer.review(), case, reviewer.case.head)


def promote(
    case: CaseFolder,
    output: Output,
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest to add to; by default the run's own.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The run of the case, if it was moved.")] = None,
) -> None:
    """Make the named groups of a case classes of the next manifest."""
    from owdfa.stages.promote import promote as stage

    made = stage(case, output, manifest=manifest, run=run)
    for name, count in made.classes.items():
        typer.echo(f"  {name}: {count} images")
    if made.filled:
        typer.echo(f"  {made.filled} of them were there without a class")
    if made.missing:
        typer.echo(f"  left out: {made.missing} images that are no longer where they were")
    typer.echo(f"{output}: {made.num_rows} images; next, which keeps the crops that there are:")
    for each in made.commands:
        typer.echo(f"  {each}")


def rescan(
    case: CaseFolder,
    run: Annotated[Path, typer.Option(help="The other run, or what owdfa export made of one.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV file to write, a row a verdict.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Add the new verdicts to the case: they hold then.")
    ] = False,
    jobs: Jobs = 0,
) -> None:
    """Say which verdicts of a case are others by another run, and why; the case stays as it is."""
    from owdfa.cli.groups import print_rescanned
    from owdfa.config import parse_settings
    from owdfa.stages.rescan import RescanOptions
    from owdfa.stages.rescan import rescan as stage

    options = parse_settings(RescanOptions, {"keep": keep, "jobs": jobs}, "rescan")
    command = ["owdfa", *sys.argv[1:]]
    with progress_bar("rescan") as show:
        found = stage(case, run, output=output, options=options, command=command, on_progress=show)
    print_rescanned(found, case, output)


@app.callback(invoke_without_command=True)
def review(context: typer.Context, case: CaseFolder) -> None:
    """Look at the groups of a case, and decide on them; every decision is in its journal."""
    context.obj = case
    if context.invoked_subcommand is None:
        list_(context)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the groups."""
    from owdfa.cli.groups import print_groups

    reviewer = _open(context)
    print_groups(reviewer.review(), reviewer.case.folder, reviewer.case.head)


@app.command()
def show(
    context: typer.Context,
    group: GroupName,
    all_: Annotated[bool, typer.Option("--all", help="List every image.")] = False,
) -> None:
    """Show a group: exemplars, what its files share, what became of it."""
    from owdfa.cli.groups import print_group

    print_group(_open(context).show(group), all_=all_)


@app.command()
def name(
    context: typer.Context,
    group: GroupName,
    name: Annotated[str, typer.Argument(help="What type it is.")],
    head: Head = None,
) -> None:
    """Say what type a group is; it takes back a rejection."""
    _print(_open(context, head).name(group, name))


@app.command()
def merge(
    context: typer.Context,
    into: Annotated[str, typer.Argument(help="The group that stays.")],
    groups: Annotated[list[str], typer.Argument(help="Those that go into it.")],
    head: Head = None,
) -> None:
    """Put groups into another, which keeps its id, and its name if it has one."""
    _print(_open(context, head).merge(into, groups))


@app.command()
def split(
    context: typer.Context,
    group: GroupName,
    images: Annotated[
        list[str] | None, typer.Argument(help="Those that go; none for a proposal by embedding.")
    ] = None,
    head: Head = None,
) -> None:
    """Make a group of some images of another."""
    _print(_open(context, head).split(group, images or ()))


@app.command()
def move(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(help="Paths, or how their SHA-256 begins.")],
    to: Annotated[str, typer.Argument(help="The group that they go to.")],
    head: Head = None,
) -> None:
    """Put images into a group."""
    _print(_open(context, head).move(images, to))


@app.command()
def gather(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(help="Paths, or how their SHA-256 begins.")],
    head: Head = None,
) -> None:
    """Make a group of images, from wherever they are."""
    _print(_open(context, head).gather(images))


@app.command()
def reject(context: typer.Context, group: GroupName, head: Head = None) -> None:
    """Say that a group is no type."""
    _print(_open(context, head).reject(group))


@app.command()
def note(
    context: typer.Context,
    group: GroupName,
    text: Annotated[str, typer.Argument(help="What is to be kept of it.")],
    head: Head = None,
) -> None:
    """Note something of a group."""
    _print(_open(context, head).note(group, text))


@app.command()
def undo(context: typer.Context, head: Head = None) -> None:
    """Take back the last decision, whoever's it was."""
    _print(_open(context, head).undo())


@app.command()
def redo(context: typer.Context, head: Head = None) -> None:
    """Do again what was taken back last."""
    _print(_open(context, head).redo())


@app.command()
def log(context: typer.Context) -> None:
    """List what was done, by whom and when."""
    from owdfa.cli.groups import print_log

    print_log(_open(context).log())


def _open(context: typer.Context, head: str | None = None) -> "Reviewer":
    from owdfa.stages.review import Reviewer

    return Reviewer(context.obj, head=head)


def _print(made: "Made") -> None:
    typer.echo(f"{made.sentence} (head {made.head[:12]})")
