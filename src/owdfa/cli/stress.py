"""``owdfa stress``: how far predictions hold when images are compressed, resized, cut or noisy."""

from pathlib import Path
from typing import Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar
from owdfa.cli.stages import MovedSplit, Output, Store, names


def stress(
    run: Annotated[Path, typer.Argument(help="A run folder, or what owdfa export wrote.")],
    output: Output,
    classes: Annotated[
        str | None, typer.Option(help="Classes to look at, separated by commas.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half of the levels, forty images of each class.")
    ] = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="Corrupt the stored crops, not the image files.")
    ] = False,
    split: MovedSplit = None,
    store: Store = None,
) -> None:
    """Predict test images under corruptions; goes on where it was stopped."""
    from owdfa.cli.tables import print_stress
    from owdfa.config import parse_settings
    from owdfa.stages.stress import StressOptions
    from owdfa.stages.stress import stress as stage

    given = {"classes": names(classes), "quick": quick, "crops": crops}
    options = parse_settings(StressOptions, given, "stress")
    with progress_bar("stress") as report:
        made = stage(run, output, options=options, split=split, store=store, on_progress=report)
    print_stress(made.record)
    for note in made.notes:
        print_note(note)
    typer.echo(f"table: {output / 'stress.csv'}, page: {made.page}")
