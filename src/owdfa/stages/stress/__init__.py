"""Stress: predict test images under a fixed grid of corruptions, and see what holds.

Everything lies in one folder::

    OUT/job.json                 what is predicted of what
    OUT/levels/jpeg-75.parquet   predictions at a level
    OUT/stress.json  stress.csv  index.html

A test that was stopped, in whatever way, goes on where it was: levels that are done stay.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.catalog import nearest
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import check_new, holds_mark, write_text
from owdfa.images.workers import num_processes
from owdfa.inference.inputs import Stored, find_images
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import ComputeOptions
from owdfa.metrics.intervals import LEVEL
from owdfa.progress import OnProgress, no_progress
from owdfa.records.split import Split
from owdfa.records.stress import FILE, Stress
from owdfa.runs.data import find_split
from owdfa.runs.lock import writing
from owdfa.stages.stress.grid import Level, grid
from owdfa.stages.stress.images import Corrupted, corrupted, take
from owdfa.stages.stress.levels import ABSENT, JOB, Job, open_job, predict_level
from owdfa.stages.stress.summary import (
    CSV_HEAD,
    Truth,
    right_indices,
    summarise,
    table_csv,
    truth_of,
)

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
    if not (output / JOB).is_file():
        check_new(output, "stress test")
    predictor = Predictor.open(run, ComputeOptions(), num_callers=num_processes(0))
    stored = find_images(predictor, _IMAGES, split, store)
    assert isinstance(stored, Stored)
    folder = split if predictor.run is None else find_split(run, predictor.run, split)
    assert folder is not None  # find_images has found one
    made = Split.read(folder)
    taken = take(stored, made, crops=options.crops)
    truth = truth_of(made, stored.ids)
    judged = np.flatnonzero(truth.classes >= 0)
    images, truth = corrupted(predictor, stored, judged, taken), truth.only(judged)
    chosen = _choose(truth, options, folder)
    with writing(output):
        job = open_job(output, predictor, images.only(chosen), taken.applied_to)
        work = _Work(output, predictor, images, chosen, job, grid(quick=options.quick))
        record = _record(work, _predict_all(work, on_progress), truth, options)
        page = _write(output, record)
    notes = tuple(note for note in (taken.note, *predictor.notes) if note)
    return Stressed(record, page, notes)


class _Work(NamedTuple):
    """What is predicted."""

    output: Path
    predictor: Predictor
    images: Corrupted  # all test images with a class: their unchanged ones settle the match
    chosen: np.ndarray  # (N,) int64, places of those that are stressed
    job: Job
    levels: tuple[Level, ...]


def _choose(truth: Truth, options: StressOptions, folder: Path) -> np.ndarray:
    """Places of the images to stress, evenly spread where only some of a class are."""
    for name in options.classes or ():
        if name not in truth.names:
            raise UserError(f"{folder}: no class {name!r}{nearest(name, list(truth.names))}")
    found = []
    for name in options.classes or truth.names:
        places = np.flatnonzero(truth.classes == truth.names.index(name))
        if options.quick and len(places) > QUICK_IMAGES:
            places = places[np.linspace(0, len(places) - 1, QUICK_IMAGES).astype(np.int64)]
        found.append(places)
    chosen = np.unique(np.concatenate(found))
    if not len(chosen):
        named = ", ".join(options.classes or ())
        raise UserError(f"{folder}: no test image of {named or 'a class'}; name other --classes")
    return chosen


def _predict_all(work: _Work, on_progress: OnProgress) -> list[np.ndarray]:
    """Indices of all unchanged images, then of the chosen ones at each further level."""
    others = work.levels[1:]  # the first is the unchanged one
    todo = [work.images, *(work.images.only(work.chosen).at(level) for level in others)]
    total, first, predicted = sum(len(images.ids) for images in todo), 0, []
    for images in todo:

        def report(done: int, _: int, note: str = "", /, before: int = first) -> None:
            on_progress(before + done, total, note)

        predicted.append(predict_level(work.output, work.predictor, images, work.job, report))
        first += len(images.ids)
        on_progress(first, total, images.level.name)
    return predicted


def _record(
    work: _Work, predicted: list[np.ndarray], whole: Truth, options: StressOptions
) -> Stress:
    """Judge all levels on the images that could be used at each of them.

    Raises:
        UserError: There is none.
    """
    job, everything = work.job, predicted[0]
    indices = [everything[work.chosen], *predicted[1:]]
    usable = np.all([index != ABSENT for index in indices], axis=0)
    if not usable.any():
        raise UserError(f"{work.images.name}: none of its files can be used; add --crops")
    here = everything != ABSENT
    right = right_indices(whole.only(here), everything[here], len(job.metadata.classes))
    truth = whole.only(work.chosen[usable])
    present = {truth.names[each] for each in np.unique(truth.classes)}
    kept = [index[usable] for index in indices]
    known, novel = truth.names[: truth.num_known], truth.names[truth.num_known :]
    return Stress(
        run=job.metadata.run,
        images=work.images.name,
        split_digest=work.images.split_digest,
        applied_to=job.applied_to,
        quick=options.quick,
        engine=job.metadata.engine,
        decoder=job.decoder,
        provenance=job.metadata.provenance,
        known=tuple(name for name in known if name in present),
        novel=tuple(name for name in novel if name in present),
        num_images=int(usable.sum()),
        num_left_out=int((~usable).sum()),
        num_groups=len(np.unique(truth.groups)),
        interval=LEVEL,
        levels=tuple(summarise(work.levels, kept, truth, right[truth.classes])),
    )


def _write(output: Path, record: Stress) -> Path:
    from owdfa.stages.stress.page import render

    record.write(output / FILE)
    own = partial(holds_mark, mark=",".join(CSV_HEAD).encode())
    write_text(output / "stress.csv", table_csv(record), own)
    write_text(output / PAGE, render(record), partial(holds_mark, mark=_PAGE_MARK))
    return output / PAGE
