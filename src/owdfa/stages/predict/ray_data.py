"""Shards through the workers of a cluster, by Ray Data.

On CPUs there is one step: a worker reads, crops and predicts a shard, as on one machine, in as many
threads as it has cores; crops would cost more to pass on than to make where they are used. With
GPUs there are two: tasks on cores read and crop, a worker a GPU predicts, and Ray Data passes the
crops on and holds the tasks back while too many wait.

Ray Data writes a file a block, and a block is what fits in memory, not a shard. So rows come back
to the process that asked for them, which alone writes: a shard that Ray runs again, since its
worker was lost, is written once all the same.
"""

import logging
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from owdfa.errors import UserError
from owdfa.inference.session import ComputeOptions
from owdfa.runs.metadata import RunMetadata
from owdfa.stages.predict.workers import CROPS, Network, Task, Worker, crop_shards, describe

_NUM_ATTEMPTS = 4  # at a shard whose worker is killed


class Resources(NamedTuple):
    """What workers are given."""

    num: int
    """Number of workers."""
    cpus: int
    """Cores of each."""
    gpus: int
    """GPUs of each: 0 or 1."""


def find_resources(ray: Any, device: str, workers: int, cpus: int) -> Resources:
    """As many workers as the cluster has devices.

    Args:
        ray: Connected to the cluster.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for GPUs where there are some.
        workers: The most to start; 0 for no limit.
        cpus: Cores of each, on CPUs.

    Raises:
        UserError: The cluster has no GPU, or no machine of so many cores.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(each.get("GPU", 0)) for each in machines)
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: no machine of the cluster has a GPU; try --device cpu")
    if device != "cpu" and gpus:
        return Resources(min(gpus, workers or gpus), 1, 1)
    num = sum(int(each.get("CPU", 0)) // cpus for each in machines)
    if not num:
        raise UserError(f"--cpus {cpus}: no machine of the cluster has so many cores; ask for less")
    return Resources(min(num, workers or num), cpus, 0)


def device_of(run: Path, options: ComputeOptions) -> str:
    """What is asked for: ``"cpu"``, ``"cuda"`` or ``"auto"``; an exported file takes CPUs alone."""
    if run.is_file():
        return "cpu"
    return options.device or RunMetadata.read(run).device


def describe_remotely(
    ray: Any, run: Path, images: str, options: ComputeOptions, resources: Resources
) -> Network:
    """``describe``, on a machine of the kind that will predict."""
    remote = ray.remote(num_cpus=1, num_gpus=resources.gpus)(describe)
    with _one_line_errors(ray):
        found: Network = ray.get(remote.remote(run, images, options))
    return found


def predict_shards(
    ray: Any, task: Task, resources: Resources, shards: Sequence[int]
) -> Generator[pa.Table, None, None]:
    """Predict shards on the cluster; yields tables of ``ROWS`` as they come, in any order."""
    import ray.data as data

    with _quiet(data), _one_line_errors(ray):
        blocks = [pa.table({"shard": pa.array([shard], pa.int32())}) for shard in shards]
        source = data.from_arrow(blocks)
        if resources.gpus:
            source = source.map_batches(
                crop_shards,
                batch_size=1,
                batch_format="pyarrow",
                fn_kwargs={"task": task},
                num_cpus=1,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these arguments get other names; see pyproject.toml
            made = source.map_batches(
                Worker,
                fn_constructor_args=(task,),
                batch_size=CROPS if resources.gpus else 1,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(
                    size=min(resources.num, len(shards)),
                    # Whole shards do not wait in the queue of one worker while another has none.
                    max_tasks_in_flight_per_actor=2 if resources.gpus else 1,
                ),
                num_cpus=0 if resources.gpus else resources.cpus,
                num_gpus=resources.gpus,
                # A lost worker is replaced, but a shard that kills each of them is given up.
                max_task_retries=_NUM_ATTEMPTS - 1,
            )
        yield from made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """For the block, what Ray Data logs stays in its own files, and nothing draws a bar."""
    context = data.DataContext.get_current()
    before = context.copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    log = logging.getLogger("ray.data")
    shown = [handler for handler in log.handlers if isinstance(handler, logging.StreamHandler)]
    for handler in shown:
        log.removeHandler(handler)
    try:
        yield
    finally:
        for handler in shown:
            log.addHandler(handler)
        data.DataContext._set_current(before)


@contextmanager
def _one_line_errors(ray: Any) -> Iterator[None]:
    """What the user can fix as it is on one machine, and what was lost with what to do."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:  # it says what was raised there
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause).splitlines()[0]) from None  # Ray adds lines
        raise
    except ray.exceptions.RayError as error:
        raise UserError(
            f"--ray: the cluster was lost, or {_NUM_ATTEMPTS} times the worker of one shard"
            f" ({type(error).__name__}; out of memory?); the same command goes on where this"
            " one was"
        ) from None
