"""``owdfa calibrate`` and ``owdfa attribute``: verdicts that can be defended."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.data import Jobs
from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import MovedSplit, Store, names
from owdfa.progress import no_progress

if TYPE_CHECKING:
    from owdfa.stages.attribute import Attributions


def calibrate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    budget: Annotated[
        float, typer.Option(help="Share of real sources that may be accused, and so on.")
    ] = 0.01,
    real: Annotated[
        str | None,
        typer.Option(help='Known classes of real images; the default is the family "real".'),
    ] = None,
    split: MovedSplit = None,
    store: Store = None,
) -> None:
    """Choose the thresholds of verdicts by the validation part of the run's split.

    owdfa train does it at its end, with the default budget.
    """
    from owdfa.cli.tables import print_calibration
    from owdfa.stages.calibrate import calibrate as stage

    with progress_bar("calibrate") as report:
        made = stage(
            run, budget=budget, real=names(real), split=split, store=store, on_progress=report
        )
    print_calibration(made)
    for note in made.notes:
        print_note(note)


def attribute(
    run: Annotated[Path, typer.Argument(help="A run folder, or what owdfa export made of one.")],
    images: Annotated[
        list[Path], typer.Argument(help="Images, videos, folders, Parquet lists of them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The case: a new folder, or one.")],
    min_size: Annotated[
        int | None,
        typer.Option(help="Least side of a face or image, in pixels; 64, or half a crop."),
    ] = None,
    min_quality: Annotated[int, typer.Option(help="Least quality of a JPEG file, 1 to 100.")] = 30,
    frame_interval: Annotated[
        float, typer.Option(help="Seconds between the frames of a video that are looked at.")
    ] = 0.2,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files into the case.")] = False,
    jobs: Jobs = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print what went wrong alone.")] = False,
) -> None:
    """Give a verdict of each face, with a stated chance of error, into a case folder."""
    from owdfa.attribution.attributor import AttributeOptions
    from owdfa.config import parse_settings
    from owdfa.stages.attribute import attribute as stage

    given = {
        "min_size": min_size, "min_quality": min_quality, "frame_interval": frame_interval,
        "jobs": jobs, "copy_files": copy,
    }  # fmt: skip
    options = parse_settings(AttributeOptions, given, "attribute")
    bar = progress_bar("attribute")
    with nullcontext(no_progress) if quiet else bar as report:
        command = ["owdfa", *sys.argv[1:]]
        found = stage(run, images, output, options=options, command=command, on_progress=report)
    if not quiet:
        _print_found(output, found)


def _print_found(output: Path, found: "Attributions") -> None:
    from owdfa.cli.tables import print_limit, print_verdicts

    print_verdicts(found.shown, found.outcomes)
    if len(found.shown) < found.num_files:
        typer.echo(f"  shown: {len(found.shown)} of {found.num_files} files")
    if found.passed_over:
        typer.echo(f"  {len(found.passed_over)} other files passed over")
    of_videos = [
        (file.path, note) for file in found.shown if file.video for note in file.video.notes
    ]
    for note in (*found.notes, *(f"{path}: {note}" for path, note in of_videos)):
        print_note(note)
    print_limit(found.attribution.calibration)
    typer.echo(f"{output}: {found.num_files} files; see verdicts.csv, and docs/verdict.md")
