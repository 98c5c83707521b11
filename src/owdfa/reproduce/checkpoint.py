"""Score an official checkpoint on the test images of its row's protocol."""

import hashlib
from pathlib import Path

import numpy as np

from owdfa.compare import Place, ShowStage, lay_out
from owdfa.compare.grid import Cell, GridOptions, parse_row, slug
from owdfa.compare.summary import Result, measures_of
from owdfa.errors import UserError
from owdfa.reproduce.rows import PublishedRow
from owdfa.runs.official import import_checkpoint
from owdfa.runs.run import Run
from owdfa.stages.predict import predict
from owdfa.stages.score import score


def score_checkpoint(
    row: PublishedRow, file: Path, output: Path, grid: GridOptions, show: ShowStage
) -> list[Result]:
    """Import a checkpoint into ``output/checkpoints/``, predict and score the test images.

    Args:
        row: The published row that it is of.
        file: The checkpoint, as its authors release it.
        output: Folder of the reproduction.
        grid: The row's trainings; taken from it are data, split, network and size of the images.
        show: Opens a progress display for a stage.

    Returns:
        One result a split.

    Raises:
        UserError: The file is no checkpoint of the method or protocol, or of the row's other form,
            with or without the number of classes.
    """
    settings = parse_row(grid.methods[0], grid.recipe).settings(grid)
    run = _imported(
        row, file, output, backbone=settings.backbone.name, size=settings.data.views.size
    )
    _check_classes(row, file, run)
    places = lay_out(output, grid, settings, show)
    return [_score(row, run, output, (seed, place), show) for (_, seed), place in places.items()]


def _score(
    row: PublishedRow, run: Run, output: Path, where: tuple[int, Place], show: ShowStage
) -> Result:
    """Score a run on the test images of a split, given by its seed and place."""
    seed, place = where
    split, table = output / place.split, run.folder / "predictions" / f"{seed}.parquet"
    store = output / place.store
    with show("predict test") as on_progress:
        predict(run.folder, "split:test", table, split=split, store=store, on_progress=on_progress)
    scores = score(table, split, run.folder / f"scores-{seed}.json")
    cell = Cell(
        row=row.name,
        classes=row.entry.classes,
        protocol=row.protocol,
        split_seed=seed,
        rule="paper",
        seed=0,
        split=place.split,
        store=place.store,
    )
    return Result(cell, scores, measures_of(scores), np.empty((0, 0)))


def _imported(row: PublishedRow, file: Path, output: Path, *, backbone: str, size: int) -> Run:
    """The run made of a checkpoint; the one that is there where it was made before."""
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); name an official checkpoint"
        ) from None
    name = f"{row.entry.method}-{slug(row.protocol)}-{digest[:12]}"
    folder = output / "checkpoints" / name
    if Run.exists(folder) and Run.open(folder).metadata.complete:
        return Run.open(folder)
    return import_checkpoint(
        file, folder, method=row.entry.method, protocol=row.protocol, backbone=backbone, size=size
    )


def _check_classes(row: PublishedRow, file: Path, run: Run) -> None:
    """Refuse a checkpoint of a training that knew the number of classes for a row that did not."""
    known = run.settings.classes != "auto"
    if known != (row.entry.classes == "true"):
        told = "was" if known else "was not"
        raise UserError(
            f"{file}: {told} given the number of classes as it was trained, unlike {row.name}; name"
            " a row that fits, see owdfa reproduce --list"
        )
