"""Predict: say of each image which class made it, and how sure that is."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.catalog import nearest
from owdfa.datasets.folder import files_below
from owdfa.errors import UserError
from owdfa.images.bad import check_bad
from owdfa.images.decode import SUFFIXES
from owdfa.images.views import PlainView
from owdfa.loader import PlainBatch, file_batches, plain_batches
from owdfa.records.predictions import SCHEMA, PredictionBasis, Predictions
from owdfa.records.split import ROLES, Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run, open_store
from owdfa.training.devices import deterministic, start
from owdfa.training.inference import Answers, answer

_TOP = 5  # likeliest classes that are kept
_PREFIX = "split:"
_MANY = 500  # files; of fewer, starting processes takes longer than what they save

Watch = Callable[[int, int], None]


class _Images(NamedTuple):
    """What to predict."""

    name: str  # for the record
    ids: list[str]  # sorted
    batches: Iterable[PlainBatch]
    split_digest: str | None


def predict(
    run: Path,
    images: str | Path | Sequence[Path],
    output: Path,
    *,
    split: Path | None = None,
    max_bad: float = 0.01,
    on_progress: Watch | None = None,
) -> Predictions:
    """Predict images with the run's selected checkpoint, and write that to ``output``.

    Images from outside go through the face detector and the sizes that the run was trained with.
    Bad ones are left out, and listed in ``<output>.bad.txt``, one a line. Memory: the predictions.

    Args:
        run: Folder of the run.
        images: ``"split:test"`` or another role of the run's split, a folder of images, or files.
        output: The file to write.
        split: Folder of the split for ``"split:..."``, for a run that was trained elsewhere or a
            split that has moved.
        max_bad: Bad images to tolerate: a share of all when below 1, else a count.
        on_progress: Called with (images done, images in all).

    Raises:
        UserError: The run or the images cannot be read, or too many images are bad.
    """
    trained = Run.open(run)
    facts = trained.facts
    what = _images(trained, images, split)
    fabric = start(trained.settings.device, trained.settings.precision)
    method = fabric.to_device(trained.method())
    bad: dict[int, str] = {}
    watched = _watched(what.batches, bad, len(what.ids), on_progress or _look_away)
    classes = class_names(facts.known, method.num_live)
    with deterministic():
        rows = [
            _rows(answers, what.ids, classes, facts.num_known)
            for answers in answer(method, watched, fabric)
        ]
    named = [(what.ids[i], bad[i]) for i in sorted(bad)]
    check_bad(named, len(what.ids), output, max_bad, noun="images")
    basis = PredictionBasis(
        run=str(run),
        images=what.name,
        method=facts.method,
        classes=classes,
        num_known=facts.num_known,
        split_digest=what.split_digest,
        selection=facts.selection,
        weights_digest=checkpoint.read_note(trained.checkpoint).weights,
        seed=facts.seed,
        commit=facts.commit,
    )
    made = Predictions(pa.Table.from_batches(rows, schema=SCHEMA), basis)
    made.write(output)
    return made


def class_names(known: Sequence[str], num_live: int) -> list[str]:
    """Names by index: the known classes, then "novel-01" and so on, save names that are taken."""
    free = (name for i in count(1) if (name := f"novel-{i:02d}") not in known)
    return [*known, *islice(free, num_live - len(known))]


def _images(run: Run, images: str | Path | Sequence[Path], split: Path | None) -> _Images:
    """Find the images.

    Raises:
        UserError: There are none, or they do not belong to the run.
    """
    if isinstance(images, str) and images.startswith(_PREFIX):
        return _split_images(run, images.removeprefix(_PREFIX), split)
    if isinstance(images, str | Path):
        place = Path(images)
        name = str(images)
        files = _files_in(place) if place.is_dir() else {_written(place): place}
    else:
        name = f"{len(images)} files"
        files = {_written(path): path for path in images}
        if len(files) < len(images):
            raise UserError(f"{name}: one of them is named twice; name each once")
    ids = sorted(files)
    if not ids:
        raise UserError(f"{name}: no images there; name a folder that holds some")
    batches = file_batches(
        [files[id_] for id_ in ids],
        _view(run),
        faces=run.facts.faces,
        store_size=run.facts.store_size,
        batch_size=run.settings.data.batch_size,
        jobs=1 if len(ids) < _MANY else 0,
    )
    return _Images(name, ids, batches, run.facts.split_digest)


def _split_images(run: Run, role: str, folder: Path | None) -> _Images:
    """The images of one role of a split."""
    if role not in ROLES:
        raise UserError(f"{_PREFIX}{role}: no such role{nearest(role, list(ROLES))}")
    facts = run.facts
    place = folder or facts.split
    if place is None:
        raise UserError(f"{run.folder}: was trained elsewhere; name a split with --split")
    split = Split.read(Path(place))
    digest = split.digest()
    if facts.split_digest not in (None, digest):
        raise UserError(
            f"{place}: is not the split that {run.folder} was trained on; its test images may be"
            " among those it learned from; train on this split, or name the other with --split"
        )
    ids = split.with_role(role)["id"].to_pylist()
    if not ids:
        raise UserError(f"{place}: holds no {role} images; split again")
    store = open_store(Path(place), split, Path(facts.store) if facts.store else None)
    if (store.basis.faces, store.size) != (facts.faces, facts.store_size):
        raise UserError(
            f"{store.folder}: was prepared with faces {store.basis.faces} and size {store.size};"
            f" {run.folder} takes {facts.faces} and {facts.store_size}, prepare the images so"
        )
    batches = plain_batches(store, ids, _view(run), batch_size=run.settings.data.batch_size)
    return _Images(f"{_PREFIX}{role}", ids, batches, digest)


def _files_in(folder: Path) -> dict[str, Path]:
    """Files below ``folder`` that are named like images, by their path below it."""
    return {
        _written(path.relative_to(folder)): path
        for path in files_below(folder)
        if path.suffix.lower() in SUFFIXES
    }


def _written(path: Path) -> str:
    """A path as an id: bytes that are not UTF-8 are written out in hexadecimal."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def _view(run: Run) -> PlainView:
    return PlainView(run.facts.image_size, run.facts.mean, run.facts.std)


def _watched(
    batches: Iterable[PlainBatch], bad: dict[int, str], total: int, watch: Watch
) -> Iterator[PlainBatch]:
    """Pass ``batches`` on, collect what is bad in them, and tell how far that is."""
    done = 0
    for batch in batches:
        bad.update(batch.errors)
        yield batch
        done += len(batch.positions) + len(batch.errors)
        watch(done, total)


def _look_away(done: int, total: int) -> None:
    """Show nobody the progress."""


def _rows(answers: Answers, ids: list[str], classes: list[str], num_known: int) -> pa.RecordBatch:
    """Rows of the predictions for one batch."""
    # A stable sort: of equals the lower index comes first, as in argmax.
    probability, index = answers.probabilities.sort(dim=1, descending=True, stable=True)
    top_probability, top_index = probability[:, :_TOP].numpy(), index[:, :_TOP].numpy()
    best = top_index[:, 0]
    columns = {
        "id": [ids[position] for position in answers.positions],
        "prediction": [classes[i] for i in best],
        "index": best.astype(np.int32),
        "confidence": top_probability[:, 0],
        "novel": best >= num_known,
        "top_index": _lists(top_index.astype(np.int32)),
        "top_probability": _lists(top_probability),
        "embedding": _lists(answers.embedding.numpy()),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def _lists(values: np.ndarray) -> pa.ListArray:
    """A matrix as one list a row."""
    height, width = values.shape
    offsets = np.arange(height + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
