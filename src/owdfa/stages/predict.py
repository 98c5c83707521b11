"""Predict: say of each image which class made it, and how sure that is."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.config import parse_settings
from owdfa.files import table_writer
from owdfa.images.bad import check_bad, check_place
from owdfa.images.workers import num_processes, threaded_map
from owdfa.records.predictions import SCHEMA, PredictionBasis, Predictions
from owdfa.runs.bundle import open_bundle
from owdfa.runs.computing import Computing
from owdfa.runs.inputs import Inputs, find_images
from owdfa.runs.predictor import Network, Predictor

_TOP = 5  # likeliest classes that are kept
_KEPT = [name for name in SCHEMA.names if name != "embedding"]

Watch = Callable[[int, int], None]


class _Answers(NamedTuple):
    """What the network says of the images of one batch."""

    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    probabilities: np.ndarray  # (B, C) float32
    embedding: np.ndarray  # (B, D) float32
    errors: dict[int, str]  # position -> why that image cannot be used


def predict(  # noqa: PLR0913  the options of the command
    run: Path,
    images: str | Path | Sequence[Path],
    output: Path,
    *,
    split: Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    max_bad: float = 0.01,
    on_progress: Watch | None = None,
) -> Predictions:
    """Predict images with the run's selected checkpoint, and write that to ``output``.

    Images from outside go through the face detector and the sizes that the run was trained with.
    Bad ones are left out, and listed in ``<output>.bad.txt``, one a line. Every core reads, crops
    and scores a few images at a time; rows are written as they come. Memory: the paths of the
    images, and what is returned.

    Args:
        run: Folder of the run, or a file that ``export`` made.
        images: ``"split:test"`` or another role of the run's split, a folder of images, or files.
        output: The file to write.
        split: Folder of the split for ``"split:..."``, for a run that was trained elsewhere or a
            split that has moved.
        device: What to compute on: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is
            one; None for what the run was told.
        precision: What to compute in: ``"32-true"``, or ``"bf16-mixed"`` for two to three
            digits; None for what the run was told.
        max_bad: Bad images to tolerate: a share of all when below 1, else a count.
        on_progress: Called with (images done, images in all).

    Returns:
        The predictions, without embeddings; ``Predictions.read(output)`` has them too.

    Raises:
        UserError: The run or the images cannot be read, what to compute on or in is not there, or
            too many images are bad.
    """
    computing = parse_settings(Computing, {"device": device, "precision": precision}, "predict")
    predictor = _predictor(run, computing)
    inputs = find_images(predictor, images, split)
    basis = predictor.basis._replace(images=inputs.name, split_digest=inputs.split_digest)
    _write(predictor, inputs, output, basis, max_bad, on_progress or _look_away)
    return Predictions.read(output, _KEPT)


def _predictor(place: Path, computing: Computing) -> Predictor:
    """What is at ``place``: torch is imported for a run folder alone."""
    if place.is_file() or place.suffix == ".onnx":
        return open_bundle(place, computing)
    from owdfa.runs.run import Run
    from owdfa.training.inference import predictor_of

    return predictor_of(Run.open(place), computing)


def _write(
    predictor: Predictor,
    inputs: Inputs,
    output: Path,
    basis: PredictionBasis,
    max_bad: float,
    watch: Watch,
) -> None:
    """Predict batch by batch, and write the rows of each."""
    total = len(inputs.ids)
    bad: dict[int, str] = {}
    check_place(output)
    with (
        table_writer(output, SCHEMA, basis._asdict()) as write,
        predictor.network() as network,
    ):
        threads = num_processes(0)
        ranges = _parts(total, network.batch_size, threads)
        for answers in threaded_map(_answering(network, inputs), ranges, threads):
            if len(answers.positions):
                write(_rows(answers, inputs.ids, basis))
            bad.update(answers.errors)
            watch(int(max([*answers.positions, *answers.errors])) + 1, total)
        named = [(inputs.ids[i], bad[i]) for i in sorted(bad)]
        check_bad(named, total, output, max_bad, noun="images", notes=inputs.passed_over)


def _parts(total: int, most: int, threads: int) -> Iterator[range]:
    """Cut ``range(total)`` into parts of ``most``, then smaller and smaller ones.

    Threads that take some time more or less for a part then end at about the same time.
    """
    first = 0
    while first < total:
        size = min(most, -(-(total - first) // (2 * threads)))
        yield range(first, first + size)
        first += size


def _answering(network: Network, inputs: Inputs) -> Callable[[range], _Answers]:
    """What a thread does: read some images, and ask the network."""

    def answer(positions: range) -> _Answers:
        crops = inputs.read(positions)
        if not len(crops.positions):
            return _Answers(crops.positions, np.empty(0), np.empty(0), crops.errors)
        return _Answers(crops.positions, *network.answer(crops.pixels), crops.errors)

    return answer


def _look_away(done: int, total: int) -> None:
    """Show nobody the progress."""


def _rows(answers: _Answers, ids: list[str], basis: PredictionBasis) -> pa.RecordBatch:
    """Rows of the predictions for one batch."""
    # A stable sort: of equals the lower index comes first, as in argmax.
    index = np.argsort(-answers.probabilities, axis=1, kind="stable")[:, :_TOP]
    probability = np.take_along_axis(answers.probabilities, index, axis=1)
    best = index[:, 0]
    columns = {
        "id": [ids[position] for position in answers.positions],
        "prediction": [basis.classes[i] for i in best],
        "index": best.astype(np.int32),
        "confidence": probability[:, 0],
        "novel": best >= basis.num_known,
        "top_index": _lists(index.astype(np.int32)),
        "top_probability": _lists(probability),
        "embedding": _lists(answers.embedding),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def _lists(values: np.ndarray) -> pa.ListArray:
    """A matrix as one list a row."""
    height, width = values.shape
    offsets = np.arange(height + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
