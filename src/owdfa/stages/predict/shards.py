"""Predict on a cluster: shards of a list of images, a file each, in a folder."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from owdfa.cluster import connect, import_ray
from owdfa.config import Settings, parse_settings
from owdfa.errors import UserError
from owdfa.files import read_table, write_table
from owdfa.images.bad import is_too_many, listing_of, refuse_bad, write_bad
from owdfa.inference.lists import ImageFiles, name_files
from owdfa.inference.session import ComputeOptions
from owdfa.progress import OnProgress, no_progress
from owdfa.records.predictions import SCHEMA, count_types
from owdfa.runs.lock import writing
from owdfa.stages.predict.job import BAD, Job, JobFolder
from owdfa.stages.predict.ray_data import (
    Resources,
    describe_remotely,
    device_of,
    find_resources,
    predict_shards,
)
from owdfa.stages.predict.workers import Network, Task

_COUNTED = pa.schema([SCHEMA.field(name) for name in ("prediction", "confidence", "novel")])
_GPU_THREADS = 2  # one prepares a batch while the GPU computes another


class ClusterOptions(Settings):
    """Where to predict, and in what portions."""

    ray: str
    """Address of a Ray cluster; auto for a local one, of this machine's cores."""
    shard: int = Field(default=10_000, ge=1, le=1_000_000)
    """Images in a file; what is lost with a worker is done again."""
    workers: int = Field(default=0, ge=0)
    """The most to start; 0 for one a GPU, or as many as the cores suffice for."""
    cpus: int = Field(default=1, ge=1)
    """Cores of a worker without a GPU."""


class Predicted(NamedTuple):
    """What a cluster predicted."""

    num_images: int  # that have a prediction
    types: pa.Table  # of ``count_types``
    listing: Path  # what could not be used
    notes: tuple[str, ...]


def predict_on_cluster(  # noqa: PLR0913  the options of the command
    run: Path,
    images: str | Path | Sequence[Path],
    output: Path,
    cluster: ClusterOptions,
    *,
    device: str | None = None,
    precision: str | None = None,
    max_bad: float = 0.01,
    on_progress: OnProgress = no_progress,
) -> Predicted:
    """Predict images on a Ray cluster, and write a file a shard into the folder ``output``.

    The numbers are those of ``predict``. Killed at any moment, the same call goes on: parts that
    are whole stay. Memory: some shards' rows, and eight bytes for each image of a list.

    Args:
        run: Folder of the run, or a file that ``export`` made; every machine must reach it.
        images: A folder, files or a list (see ``inference.lists``); every machine must reach them.
        output: The folder, see ``job``; every machine must reach it.
        cluster: Where, and in what portions.
        device: As for ``predict``; with GPUs there is a worker a GPU.
        precision: As for ``predict``.
        max_bad: Bad images to tolerate: a share of all when below 1, else a count.
        on_progress: Called with (images done, images in all).

    Raises:
        UserError: As ``predict``; or there is no cluster, or the folder holds something else.
    """
    import_ray()
    options = parse_settings(ComputeOptions, {"device": device, "precision": precision}, "predict")
    if isinstance(images, str) and images.startswith("split:"):
        raise UserError(f"{images}: is predicted on one machine; leave --ray out")
    if output.is_file():
        raise UserError(f"{output}: is a file; with --ray, name a folder with -o")
    run, folder = run.absolute(), JobFolder(output.absolute())
    asked = device_of(run, options)
    with writing(folder.path):
        folder.check()
        named = name_files(images)
        listed = folder.write_list(named, cluster.shard)
        with connect(cluster.ray) as ray:
            resources = find_resources(ray, asked, cluster.workers, cluster.cpus)
            if asked != "cpu":
                options = ComputeOptions(
                    device="cuda" if resources.gpus else "cpu", precision=options.precision
                )
            network = describe_remotely(ray, run, named.name, options, resources)
            job = folder.open(listed, cluster.shard, network.metadata)
            network = network._replace(metadata=job.metadata)
            threads = _GPU_THREADS if resources.gpus else resources.cpus
            task = Task(run, options, folder, network, threads)
            _predict(ray, task, resources, job, max_bad, on_progress)
        return _finish(folder, job, named, max_bad, network)


def _predict(
    ray: Any,
    task: Task,
    resources: Resources,
    job: Job,
    max_bad: float,
    on_progress: OnProgress,
) -> None:
    """Predict the shards that have no whole part; stop when too many images are bad."""
    folder, total = task.folder, job.num_images
    pending = [shard for shard in range(job.num_shards) if not folder.is_whole(job, shard)]
    whole = set(range(job.num_shards)).difference(pending)
    done = sum(job.size(shard) for shard in whole)
    num_bad = sum(len(folder.bad(shard)) for shard in whole)
    on_progress(done, total)
    if not pending:
        return
    waiting: dict[int, list[pa.Table]] = defaultdict(list)
    with closing(predict_shards(ray, task, resources, pending)) as tables:
        for table in tables:
            for shard in pc.unique(table["shard"]).to_pylist():
                waiting[shard].append(table.filter(pc.equal(table["shard"], shard)))
                if sum(each.num_rows for each in waiting[shard]) >= job.size(shard):
                    num_bad += _write_part(folder, job, shard, waiting.pop(shard))
            done += table.num_rows
            on_progress(done, total)
            if is_too_many(num_bad, total, max_bad):
                return


def _write_part(folder: JobFolder, job: Job, shard: int, tables: Sequence[pa.Table]) -> int:
    """Write the part of a shard; returns how many of its images are bad."""
    table = pa.concat_tables(tables).sort_by("row")
    if not np.array_equal(table["row"], np.arange(job.size(shard))):
        raise RuntimeError(f"shard {shard}: some of its images came twice, or not at all")
    path, is_bad = folder.part(shard), pc.is_valid(table["error"])
    bad = table.filter(is_bad).select(["id", "error"]).to_pylist()
    write_bad(listing_of(path), path, [f"{row['id']}: {row['error']}" for row in bad])
    good = table.filter(pc.invert(is_bad)).select(SCHEMA.names)
    write_table(path, good, job.metadata.model_dump(by_alias=True))
    return len(bad)


def _finish(
    folder: JobFolder, job: Job, named: ImageFiles, max_bad: float, network: Network
) -> Predicted:
    """List what could not be used, refuse too much of it, and count the types."""
    bad = [line for shard in range(job.num_shards) for line in folder.bad(shard)]
    notes = [f"{name}: {note}" for name, note in named.passed_over]
    listing = folder.path / BAD
    write_bad(listing, folder.path, [*bad, *notes])
    refuse_bad(bad, job.num_images, listing, max_bad, noun="images")
    types = count_types(_counted(folder, job))
    return Predicted(pc.sum(types["images"]).as_py(), types, listing, network.notes)


def _counted(folder: JobFolder, job: Job) -> Iterator[pa.Table]:
    for shard in range(job.num_shards):
        yield read_table(folder.part(shard), _COUNTED, what="predictions")[0]
