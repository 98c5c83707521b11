"""The folder of a prediction on a cluster: what it is of, and which parts are whole.

OUT/job.json                     what is predicted by what: ``Job``
OUT/list.parquet                 id and path of every image; a row group a shard
OUT/part-00000.parquet           predictions of a shard, as ``owdfa predict`` writes them
OUT/part-00000.parquet.bad.txt   images of the shard that cannot be used, with the reason
OUT/bad.txt                      the same of all shards, and files passed over
"""

import hashlib
import json
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_json, table_writer, write_json
from owdfa.images.bad import read_bad
from owdfa.inference.lists import ImageFiles, no_images
from owdfa.records.predictions import PredictionMetadata, Predictions

JOB, LIST, BAD = "job.json", "list.parquet", "bad.txt"
_LIST_SCHEMA = pa.schema([("id", pa.string()), ("path", pa.binary())])  # a path may be no UTF-8
_LEFT_BEHIND = ".*.part"  # of a process that was killed while it wrote


class Job(Settings):
    """What is predicted by what; all parts of a folder are of one job."""

    schema_: Literal["owdfa/predict-job/1"] = Field(default="owdfa/predict-job/1", alias="schema")
    list_digest: str
    """SHA-256 over id and path of every image, shard by shard."""
    num_images: int
    shard: int
    """Images in a part; the last one has the rest."""
    metadata: PredictionMetadata
    """Of every part."""

    @property
    def num_shards(self) -> int:
        """Number of parts."""
        return -(-self.num_images // self.shard)

    def size(self, shard: int) -> int:
        """Number of images of a shard."""
        return min(self.shard, self.num_images - shard * self.shard)


class Shard(NamedTuple):
    """Images of a shard, in order of id."""

    ids: list[str]
    paths: list[str]


class Listed(NamedTuple):
    """What ``write_list`` wrote."""

    digest: str
    num_images: int


@dataclass(frozen=True)
class JobFolder:
    """The folder, by one process at a time."""

    path: Path

    def part(self, shard: int) -> Path:
        """The file of a shard's predictions."""
        return self.path / f"part-{shard:05d}.parquet"

    def check(self) -> None:
        """Refuse a folder of something else; clear away what a killed process left half written.

        Raises:
            UserError: It holds files and no job.
        """
        for left in self.path.glob(_LEFT_BEHIND):
            left.unlink()
        others = [each for each in self.path.iterdir() if each.name != LIST]
        if others and not (self.path / JOB).is_file():
            raise UserError(
                f"{self.path}: holds {others[0].name} and no predictions of a cluster; choose a"
                " new folder with -o"
            )

    def write_list(self, named: ImageFiles, shard: int) -> Listed:
        """Write id and path of every image, whole or not at all; memory holds a shard of them.

        Raises:
            UserError: There are none, or the folder holds predictions of other images.
        """
        found = self._job()
        digest, num_images = hashlib.sha256(), 0
        with table_writer(self.path / LIST, _LIST_SCHEMA, {}, group_bytes=0) as write:
            while files := sorted(islice(named.files, shard)):
                ids = [file.id for file in files]
                paths = [os.fsencode(Path(file.path).absolute()) for file in files]
                write(pa.RecordBatch.from_arrays([ids, paths], schema=_LIST_SCHEMA))
                digest.update(json.dumps([ids, [os.fsdecode(path) for path in paths]]).encode())
                num_images += len(ids)
            if not num_images:
                raise no_images(named)
            listed = Listed(digest.hexdigest(), num_images)
            if found is not None and listed != (found.list_digest, found.num_images):
                raise UserError(
                    f"{self.path}: holds predictions of {found.num_images} images of"
                    f" {found.metadata.images} in shards of {found.shard}, and these are others;"
                    " name the same images and --shard, or choose another -o"
                )
        return listed

    def read_shard(self, shard: int) -> Shard:
        """The images of a shard.

        Raises:
            UserError: The list is not there: a machine does not share the folder.
        """
        path = self.path / LIST
        try:
            with pq.ParquetFile(path) as file:
                rows = file.read_row_group(shard)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path}: cannot be read ({reason}); every machine of the cluster must reach the"
                " folder of -o under the same path"
            ) from None
        return Shard(
            rows["id"].to_pylist(), [os.fsdecode(each) for each in rows["path"].to_pylist()]
        )

    def open(self, listed: Listed, shard: int, metadata: PredictionMetadata) -> Job:
        """Note what is predicted by what; of a folder that has a job, go on with that.

        Raises:
            UserError: That job was of another run, or its weights are others by now.
        """
        found = self._job()
        if found is None:
            found = Job(
                list_digest=listed.digest,
                num_images=listed.num_images,
                shard=shard,
                metadata=metadata,
            )
            write_json(self.path / JOB, found.model_dump(by_alias=True))
            return found
        moved = {"run": found.metadata.run, "images": found.metadata.images}
        if metadata.model_copy(update=moved) != found.metadata:
            made = f"{found.metadata.run} ({found.metadata.engine}"
            raise UserError(
                f"{self.path}: holds predictions by {made}, {found.metadata.provenance.precision});"
                " the weights, the engine or the precision are others now; choose another -o"
            )
        return found

    def is_whole(self, job: Job, shard: int) -> bool:
        """Whether the part of a shard is there, of this job, and no image of it is lost."""
        path = self.part(shard)
        if not path.is_file():
            return False
        try:
            made = Predictions.read(path, ["id"])
        except UserError:
            return False
        num = made.table.num_rows + len(read_bad(path))
        return made.metadata == job.metadata and num == job.size(shard)

    def bad(self, shard: int) -> list[str]:
        """Bad images of a shard, each with its reason."""
        return read_bad(self.part(shard))

    def _job(self) -> Job | None:
        path = self.path / JOB
        if not path.is_file():
            return None
        try:
            return Job.model_validate(read_json(path, what="predictions of a cluster"))
        except ValidationError:
            raise UserError(f"{path}: is not of this version of owdfa; choose another -o") from None
