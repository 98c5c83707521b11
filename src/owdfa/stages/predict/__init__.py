"""Predict: say of each image which class made it, and how sure that is.

Here on one machine, into one file; ``shards`` does it on a cluster, into a folder of files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pyarrow import csv

from owdfa.config import parse_settings
from owdfa.files import atomic, check_replaceable, table_writer
from owdfa.images.bad import check_bad, check_place
from owdfa.images.workers import num_processes
from owdfa.inference.inputs import Inputs, Stored, find_images
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import ComputeOptions
from owdfa.progress import OnProgress, no_progress
from owdfa.records.predictions import SCHEMA, Predictions
from owdfa.stages.predict.parts import metadata_of, predict_parts

_KEPT = [name for name in SCHEMA.names if name != "embedding"]
_PLAIN = ["id", "prediction", "confidence", "novel", "log_ratio"]  # columns of a CSV file
_HEAD = ",".join(f'"{name}"' for name in _PLAIN[:4]).encode()  # older files have no more


def predict(  # noqa: PLR0913  the options of the command
    run: Path,
    images: str | Path | Sequence[Path],
    output: Path,
    *,
    split: Path | None = None,
    store: Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    max_bad: float = 0.01,
    on_progress: OnProgress = no_progress,
) -> Predictions:
    """Predict images with the run's selected checkpoint, and write that to ``output``.

    Images from outside go through the face detector and the sizes that the run was trained with.
    Bad ones are left out, and listed in ``<output>.bad.txt``, one a line. Every core reads, crops
    and scores a few images at a time; rows are written as they come. Memory: the paths of the
    images, and what is returned.

    Args:
        run: Folder of the run, or a file that ``export`` made.
        images: ``"split:test"`` or another role of the run's split, a folder of images, files, or
            a list of them: a Parquet file with a column ``path`` (see ``inference.lists``).
        output: The file to write; beside one named ``.csv``, the same in Parquet with all columns.
        split: Folder of the split for ``"split:..."``, for a run that was trained elsewhere or a
            split that has moved.
        store: Folder of the crops of that split, where they have moved.
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
    options = parse_settings(ComputeOptions, {"device": device, "precision": precision}, "predict")
    predictor = Predictor.open(run, options, num_callers=num_processes(0))
    inputs = find_images(predictor, images, split, store)
    if isinstance(inputs, Stored) and inputs.features is not None:
        predictor = predictor.by_features()
    table = output.with_suffix(".parquet") if output.suffix == ".csv" else output
    if table != output:
        check_replaceable(output, _is_ours)
    _write(predictor, inputs, table, output, max_bad, on_progress)
    notes = predictor.notes
    if predictor.provenance.is_oracle:
        notes = (*notes, f"ORACLE: {predictor.provenance.oracle}")
    made = replace(Predictions.read(table, _KEPT), notes=notes)
    if table != output:
        with atomic(output, _is_ours) as temporary, temporary.open("wb") as stream:
            csv.write_csv(made.table.select(_PLAIN), stream)
    return made


def _is_ours(path: Path) -> bool:
    """Whether a CSV file is one of predictions."""
    with path.open("rb") as stream:
        return stream.read(len(_HEAD)) == _HEAD


def _write(
    predictor: Predictor,
    inputs: Inputs,
    table: Path,
    output: Path,
    max_bad: float,
    on_progress: OnProgress,
) -> None:
    """Predict part by part, and write the rows of each."""
    ids, session = inputs.ids, predictor.session
    metadata = metadata_of(predictor, inputs.name, inputs.split_digest)
    total, threads = len(ids), num_processes(0)
    bad: dict[int, str] = {}
    check_place(output)
    with table_writer(table, SCHEMA, metadata.model_dump(by_alias=True)) as write:
        ranges = _parts(total, session.batch_size, threads)
        for part in predict_parts(session, inputs, metadata, ranges, threads):
            if part.rows is not None:
                write(part.rows)
            bad.update(part.errors)
            on_progress(int(max([*part.positions, *part.errors])) + 1, total)
        named = [(ids[i], bad[i]) for i in sorted(bad)]
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
