"""Stress: predict test images under a fixed grid of corruptions, and see what holds.

Everything lies in one folder::

    OUT/job.json                 what is predicted of what
    OUT/levels/jpeg-75.parquet   predictions at a level
    OUT/stress.json  stress.csv  index.html

A test that was stopped, in whatever way, goes on where it was: levels that are done stay.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from owdfa.catalog import nearest
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import holds_mark, write_text
from owdfa.images.workers import num_processes
from owdfa.inference.inputs import Stored, find_images
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import ComputeOptions
from owdfa.metrics.intervals import LEVEL
from owdfa.progress import OnProgress, no_progress
from owdfa.records.rows import codes, indices_of
from owdfa.records.split import Split
from owdfa.records.stress import FILE, Stress
from owdfa.runs.data import find_split
from owdfa.runs.lock import writing
from owdfa.stages.stress.grid import grid
from owdfa.stages.stress.images import Corrupted, corrupted, take
from owdfa.stages.stress.levels import ABSENT, Job, open_job, predict_level
from owdfa.stages.stress.summary import CSV_HEAD, Truth, summarise, table_csv

PAGE = "index.html"
QUICK_IMAGES = 40  # of each class
_PAGE_MARK = b'<meta name="generator" content="owdfa stress">'
_IMAGES = "split:test"


class StressOptions(Settings):
    """What to stress."""

    classes: tuple[str, ...] | None = None
    """Classes to look at; None for all."""
    quick: bool = False
    """Every second level, on forty images of each class."""
    crops: bool = False
    """Corrupt the stored crops even where the files are at hand."""


class Stressed(NamedTuple):
    """What a stress test led to."""

    record: Stress
    page: Path
    notes: tuple[str, ...]


def stress(
    run: Path,
    output: Path,
    *,
    options: StressOptions | None = None,
    split: Path | None = None,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Stressed:
    """Predict the test images of a run's split at every level of the grid.

    Args:
        run: Folder of the run, or a file that ``export`` made.
        output: Folder to write; it may hold the same test, unfinished.
        options: What to stress.
        split: Folder of the split, where it has moved.
        store: Folder of its crops, where they have moved.
        on_progress: Called with (images done of all levels, images of all levels).

    Raises:
        UserError: The run or the images cannot be read, a class has no test image, or ``output``
            holds something else.
    """
    options = options or StressOptions()
    predictor = Predictor.open(run, ComputeOptions(), num_callers=num_processes(0))
    stored = find_images(predictor, _IMAGES, split, store)
    assert isinstance(stored, Stored)
    folder = split if predictor.run is None else find_split(run, predictor.run, split)
    assert folder is not None  # find_images has found one
    made = Split.read(folder)
    rows = _choose(stored, made, options, folder)
    taken = take(stored, rows, made, crops=options.crops)
    images = corrupted(predictor, stored, rows, taken)
    with writing(output):
        job = open_job(output, predictor, images, taken.applied_to)
        predicted = _predict_all(output, predictor, images, job, options, on_progress)
        record = _record(predicted, images, job, made, options)
        page = _write(output, record)
    notes = tuple(note for note in (taken.note, *predictor.notes) if note)
    return Stressed(record, page, notes)


def _choose(stored: Stored, split: Split, options: StressOptions, folder: Path) -> np.ndarray:
    """Rows of the images to look at: those with a class, evenly spread where only some are."""
    table = split.table.take(indices_of(stored.ids, split.table["id"]))
    names = split.known + split.novel
    for name in options.classes or ():
        if name not in names:
            raise UserError(f"{folder}: no class {name!r}{nearest(name, list(names))}")
    found = []
    for name in options.classes or names:
        rows = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(table["class"], name), False)))
        if options.quick and len(rows) > QUICK_IMAGES:
            rows = rows[np.linspace(0, len(rows) - 1, QUICK_IMAGES).astype(np.int64)]
        found.append(rows)
    rows = np.sort(np.concatenate(found))
    if not len(rows):
        named = ", ".join(options.classes or ())
        raise UserError(f"{folder}: no test image of {named or 'a class'}; name other --classes")
    return rows


def _predict_all(
    output: Path,
    predictor: Predictor,
    images: Corrupted,
    job: Job,
    options: StressOptions,
    on_progress: OnProgress,
) -> list[np.ndarray]:
    levels = grid(quick=options.quick)
    num, total = len(images.ids), len(images.ids) * len(levels)
    predicted = []
    for place, level in enumerate(levels):

        def report(done: int, _: int, note: str = "", /, first: int = place * num) -> None:
            on_progress(first + done, total, note)

        predicted.append(predict_level(output, predictor, images.at(level), job, report))
        report(num, num, level.name)
    return predicted


def _record(
    predicted: Sequence[np.ndarray],
    images: Corrupted,
    job: Job,
    split: Split,
    options: StressOptions,
) -> Stress:
    """Judge all levels on the images that could be used at each of them.

    Raises:
        UserError: There is none.
    """
    usable = np.all([index != ABSENT for index in predicted], axis=0)
    if not usable.any():
        raise UserError(f"{images.name}: none of its files can be used; add --crops")
    table = split.table.take(indices_of(images.ids, split.table["id"])).filter(usable)
    names = split.known + split.novel
    classes = [names.index(name) for name in table["class"].to_pylist()]
    groups = codes(pc.coalesce(table["group"], table["id"]))
    truth = Truth(np.array(classes), groups, names, len(split.known))
    num_indices = len(job.metadata.classes)
    kept = [index[usable] for index in predicted]
    present = {names[each] for each in classes}
    return Stress(
        run=job.metadata.run,
        images=images.name,
        split_digest=images.split_digest,
        applied_to=job.applied_to,
        quick=options.quick,
        engine=job.metadata.engine,
        decoder=job.decoder,
        provenance=job.metadata.provenance,
        known=tuple(name for name in split.known if name in present),
        novel=tuple(name for name in split.novel if name in present),
        num_images=int(usable.sum()),
        num_left_out=int((~usable).sum()),
        num_groups=len(np.unique(groups)),
        interval=LEVEL,
        levels=tuple(summarise(grid(quick=options.quick), kept, truth, num_indices)),
    )


def _write(output: Path, record: Stress) -> Path:
    from owdfa.stages.stress.page import render

    record.write(output / FILE)
    own = partial(holds_mark, mark=",".join(CSV_HEAD).encode())
    write_text(output / "stress.csv", table_csv(record), own)
    write_text(output / PAGE, render(record), partial(holds_mark, mark=_PAGE_MARK))
    return output / PAGE
