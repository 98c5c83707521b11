"""Predictions at each level, kept in a folder so that a test that was stopped goes on."""

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_json, read_table, write_json, write_table
from owdfa.images.decode import DECODER
from owdfa.images.workers import num_processes
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress
from owdfa.records.predictions import PredictionMetadata
from owdfa.records.rows import indices_of
from owdfa.stages.predict.parts import metadata_of, predict_parts
from owdfa.stages.stress.grid import Level
from owdfa.stages.stress.images import AppliedTo, Corrupted

JOB, LEVELS = "job.json", "levels"
ABSENT = -1  # index of an image that could not be used
_SCHEMA = pa.schema([("id", pa.string()), ("index", pa.int32()), ("confidence", pa.float32())])


class Job(Settings):
    """What is predicted of what; all levels of a folder are of one job."""

    schema_: Literal["owdfa/stress-job/1"] = Field(default="owdfa/stress-job/1", alias="schema")
    images_digest: str
    """SHA-256 over the ids."""
    num_images: int
    applied_to: AppliedTo
    decoder: str
    metadata: PredictionMetadata


def open_job(folder: Path, predictor: Predictor, images: Corrupted, applied_to: AppliedTo) -> Job:
    """Note what is predicted of what.

    Raises:
        UserError: The folder holds levels of something else.
    """
    job = Job(
        images_digest=hashlib.sha256("\0".join(images.ids).encode()).hexdigest(),
        num_images=len(images.ids),
        applied_to=applied_to,
        decoder=DECODER,
        metadata=metadata_of(predictor, images.name, images.split_digest),
    )
    path = folder / JOB
    if path.exists():
        try:
            found = Job.model_validate(read_json(path, what="a stress test"))
        except ValidationError:
            found = None
        here = job.metadata.run  # a run that was moved is the same run
        moved = found and found.metadata.model_copy(update={"run": here})
        if found is None or found.model_copy(update={"metadata": moved}) != job:
            raise UserError(
                f"{folder}: holds a stress test of another run, of other images or by other"
                " versions; choose another -o, or remove it"
            )
    write_json(path, job.model_dump(by_alias=True))
    return job


def predict_level(
    folder: Path, predictor: Predictor, images: Corrupted, job: Job, on_progress: OnProgress
) -> np.ndarray:
    """Predict the images at their level, where that is not done.

    Returns:
        (N,) int64: the index of each; ``ABSENT`` where the image cannot be used.
    """
    level = images.level
    path = folder / LEVELS / f"{level.name}.parquet"
    recorded: dict[str, object] = {
        "level": describe(level),
        "images": len(images.ids),
        "metadata": job.metadata.model_dump(by_alias=True),
    }
    found = _read(path, recorded) if path.is_file() else None
    if found is None:
        found = _predict(predictor, images, job, on_progress)
        write_table(path, found, recorded)
    places = indices_of(images.ids, found["id"])
    index = np.asarray(found["index"]).astype(np.int64)
    return np.where(places >= 0, np.append(index, ABSENT)[places], ABSENT)


def describe(level: Level) -> dict[str, object]:
    """What a level does, for the record."""
    return {"name": level.name, "function": level.function.__name__, "parameters": level.parameters}


def _read(path: Path, recorded: dict[str, object]) -> pa.Table | None:
    """Rows of a level; None where they are of other settings, or damaged."""
    try:
        table, note = read_table(path, _SCHEMA, what="a level of a stress test")
    except UserError:
        return None
    return table if _plain(note) == _plain(recorded) else None


def _plain(note: dict[str, object]) -> object:
    """As JSON reads it back, without the place of the run."""
    plain: dict[str, dict[str, object]] = json.loads(json.dumps(note))
    plain.get("metadata", {}).pop("run", None)
    return plain


def _predict(
    predictor: Predictor, images: Corrupted, job: Job, on_progress: OnProgress
) -> pa.Table:
    size, total = predictor.session.batch_size, len(images.ids)
    ranges = (range(first, min(first + size, total)) for first in range(0, total, size))
    rows, done = [], 0
    for part in predict_parts(predictor.session, images, job.metadata, ranges, num_processes(0)):
        if part.rows is not None:
            rows.append(part.rows.select(_SCHEMA.names))
        done += len(part.positions) + len(part.errors)
        on_progress(done, total, images.level.name)
    return pa.Table.from_batches(rows, schema=_SCHEMA)
