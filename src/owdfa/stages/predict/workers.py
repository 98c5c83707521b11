"""What the processes of a cluster do: read, crop and predict shards; they write nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa

from owdfa.errors import UserError
from owdfa.images.faces import Fit, check_faces
from owdfa.images.workers import num_processes
from owdfa.inference.inputs import Crops, Files, Inputs
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import ComputeOptions, Session
from owdfa.records.predictions import SCHEMA, PredictionMetadata
from owdfa.stages.predict.job import JobFolder
from owdfa.stages.predict.parts import metadata_of, predict_parts

CROPS = 256  # images that a task hands on, and a worker with a GPU takes, at once

_WHERE = [("shard", pa.int32()), ("row", pa.int32())]  # which shard, and which of its images
ROWS = pa.schema([*_WHERE, ("error", pa.string()), *SCHEMA])
"""What comes back of an image: ``error`` where it cannot be used, otherwise the prediction."""
_ERRORS = pa.schema([("id", pa.string()), ("error", pa.string())])


class Network(NamedTuple):
    """What a worker says of the network that it started."""

    metadata: PredictionMetadata
    faces: str
    store_size: int
    fit: Fit
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What all workers are told.

    Attributes:
        run: The run folder, or the exported file.
        options: What to compute on and in.
        folder: That holds the list of images.
        network: As it must be everywhere.
        threads: Of a worker.
    """

    run: Path
    options: ComputeOptions
    folder: JobFolder
    network: Network
    threads: int

    def files(self, shard: int) -> Files:
        """The images of a shard."""
        ids, paths = self.folder.read_shard(shard)
        network = self.network
        size = network.store_size
        return Files(f"shard {shard}", ids, paths, network.faces, size, fit=network.fit)


@final
@dataclass(frozen=True)
class Cropped:
    """Images that a task has read."""

    name: str
    ids: list[str]
    pixels: np.ndarray  # (B, S, S, 3) uint8; zeros where it cannot be used
    reasons: list[str | None]  # why it cannot
    passed_over: Sequence[tuple[str, str]] = ()
    split_digest: None = None

    def read(self, positions: range) -> Crops:
        """Crops of the images at these positions."""
        errors = {i: reason for i in positions if (reason := self.reasons[i]) is not None}
        good = np.array([i for i in positions if i not in errors], dtype=np.int64)
        return Crops(self.pixels[good], good, errors)


def describe(run: Path, images: str, options: ComputeOptions) -> Network:
    """Start the network once, to see that it can be, and on what the predictions rest.

    Raises:
        UserError: It is missing or damaged, or does not compute on or in what is asked for.
    """
    predictor = Predictor.open(run, options)
    check_faces(predictor.faces)
    notes = predictor.notes
    if predictor.provenance.is_oracle:
        notes = (*notes, f"ORACLE: {predictor.provenance.oracle}")
    metadata = metadata_of(predictor, images)
    return Network(metadata, predictor.faces, predictor.store_size, predictor.fit, notes)


class Worker:
    """A process with a network; on CPUs it also reads and crops.

    Args:
        task: What to do.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    @cached_property
    def _session(self) -> Session:
        """The network, started when it is first used: Ray tells what goes wrong then."""
        task, metadata = self._task, self._task.network.metadata
        # Each thread calls the network with a core of its own.
        predictor = Predictor.open(task.run, task.options, num_callers=num_processes(0))
        found = metadata_of(predictor, metadata.images)
        if found.model_copy(update={"run": metadata.run}) != metadata:
            raise UserError(
                f"{task.run}: is not the same on every machine, or the engine is not"
                f" ({found.engine}, {metadata.engine}); install the same versions"
            )
        return predictor.session

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Predict shards, or crops of ``crop_shards``; yields tables of ``ROWS``.

        Raises:
            UserError: The network here is another than the one that was described.
        """
        if "crop" in table.column_names:
            yield self._predict(
                _cropped(table, self._task.network.store_size), table["shard"], table["row"]
            )
            return
        for shard in table["shard"].to_pylist():
            files = self._task.files(shard)
            num = len(files.ids)
            where = pa.array(np.full(num, shard, np.int32)), pa.array(np.arange(num, dtype="i4"))
            yield self._predict(files, *where)

    def _predict(self, inputs: Inputs, shard: pa.Array, row: pa.Array) -> pa.Table:
        """Predict images whose place in the job is given."""
        task, session, total = self._task, self._session, len(inputs.ids)
        most = session.batch_size
        parts = (range(first, min(first + most, total)) for first in range(0, total, most))
        rows: list[pa.RecordBatch] = []
        bad: dict[int, str] = {}
        for part in predict_parts(session, inputs, task.network.metadata, parts, task.threads):
            bad.update(part.errors)
            if part.rows is not None:
                rows.append(part.rows)
        left = sorted(bad)
        errors = pa.table([[inputs.ids[i] for i in left], [bad[i] for i in left]], schema=_ERRORS)
        good = np.setdiff1d(np.arange(total), left)  # parts come in order
        placed = [
            table.append_column("shard", shard.take(at)).append_column("row", row.take(at))
            for table, at in (
                (pa.Table.from_batches(rows, SCHEMA), pa.array(good, pa.int64())),
                (errors, pa.array(left, pa.int64())),
            )
        ]
        return pa.concat_tables(placed, promote_options="default").select(ROWS.names).cast(ROWS)


def crop_shards(table: pa.Table, task: Task) -> Iterator[pa.Table]:
    """Read and crop shards, for workers that have a GPU: what a task on a core does.

    Yields:
        Columns ``shard, row, id, error`` and ``crop``, (S * S * 3) bytes, null where it is bad.
    """
    for shard in table["shard"].to_pylist():
        files = task.files(shard)
        total = len(files.ids)
        for first in range(0, total, CROPS):
            rows = range(first, min(first + CROPS, total))
            crops = files.read(rows)
            pixels = dict(zip(crops.positions.tolist(), crops.pixels, strict=True))
            yield pa.table(
                {
                    "shard": pa.array([shard] * len(rows), pa.int32()),
                    "row": pa.array(rows, pa.int32()),
                    "id": files.ids[rows.start : rows.stop],
                    "error": pa.array([crops.errors.get(i) for i in rows], pa.string()),
                    "crop": pa.array(
                        [pixels[i].tobytes() if i in pixels else None for i in rows], pa.binary()
                    ),
                }
            )


def _cropped(table: pa.Table, size: int) -> Cropped:
    """What ``crop_shards`` made, as images of ``size`` x ``size`` pixels."""
    pixels = np.zeros((table.num_rows, size, size, 3), np.uint8)
    for i, crop in enumerate(table["crop"]):
        if crop.is_valid:
            pixels[i] = np.frombuffer(crop.as_buffer(), np.uint8).reshape(size, size, 3)
    return Cropped("crops", table["id"].to_pylist(), pixels, table["error"].to_pylist())
