"""Prediction on a Ray cluster: a local one of two cores, which the tests here share."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.predict import random_run, write_files
from command_line import done, refused
from owdfa.images.bad import read_bad
from owdfa.listings import read_listing
from owdfa.records.predictions import Predictions

NUM, SHARD = 300, 10
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",  # of who starts and who joins a cluster alike
    "RAY_USAGE_STATS_ENABLED": "0",
}
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed: pip install 'owdfa[ray]'",
)


class Cluster(NamedTuple):
    address: str
    pid: int


@pytest.fixture(scope="module")
def cluster():
    """A cluster in a process of its own; its GPU is one in name."""
    program = (
        "import sys, ray\n"
        "found = ray.init(num_cpus=2, num_gpus=1, include_dashboard=False)\n"
        "print('at', found.address_info['address'], flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes) as process:
        line = next(line for line in process.stdout if line.startswith("at "))
        yield Cluster(line.split()[1], process.pid)
        process.stdin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of random weights, photographs with a broken one, and what one machine predicts."""
    folder = tmp_path_factory.mktemp("cluster")
    random_run(folder / "run", "tiny/trace8w16", 32)
    write_files(folder / "photos", NUM, 48)
    (folder / "photos" / "broken.jpg").write_bytes(b"no image")
    (folder / "photos" / "notes.txt").write_text("no image")
    done("predict", folder / "run", folder / "photos", "-o", folder / "one.parquet")
    return folder


def command_of(cluster, folder, output, *options):
    images = [folder / "run", folder / "photos", "-o", output, "--shard", SHARD]
    whole = ["predict", *images, "--ray", cluster.address, *options]
    return [sys.executable, "-m", "owdfa", *map(str, whole)]


def ended(command):
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def parts_of(output):
    return sorted(output.glob("part-*.parquet"))


def assert_whole(output, folder):
    """Nothing is lost, nothing twice, and the numbers are those of one machine."""
    one = Predictions.read(folder / "one.parquet")
    parts = [Predictions.read(part) for part in parts_of(output)]
    table = pa.concat_tables([part.table for part in parts]).sort_by("id")
    assert table["id"].to_pylist() == one.table["id"].to_pylist()
    assert table.schema == one.table.schema
    for name in ("confidence", "known_probability"):
        assert np.allclose(table[name], one.table[name], atol=1e-6)
    assert table["prediction"] == one.table["prediction"]
    assert all(part.metadata == parts[0].metadata for part in parts)
    assert parts[0].metadata.model_copy(update={"run": one.metadata.run}) == one.metadata
    listed = read_listing(output / "bad.txt")
    assert listed == read_bad(folder / "one.parquet")
    assert [line for part in parts_of(output) for line in read_bad(part)] == listed[:1]
    assert not list(output.glob(".*.part"))


@pytest.mark.slow
@needs_ray
def test_shards_hold_what_one_machine_predicts(cluster, folder, tmp_path):
    command = command_of(cluster, folder, tmp_path / "out", "--workers", "2")
    first = ended(command)
    assert first.returncode == 0, first.stderr
    assert f"{NUM} images" in first.stdout
    assert "left out: broken.jpg: is not an image" in first.stdout
    assert len(parts_of(tmp_path / "out")) == NUM // SHARD + 1
    assert_whole(tmp_path / "out", folder)
    written = [part.stat().st_mtime_ns for part in parts_of(tmp_path / "out")]
    again = ended(command)
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    assert written == [part.stat().st_mtime_ns for part in parts_of(tmp_path / "out")]
    bad = ended([*command, "--max-bad", "0"])
    assert bad.returncode == 2
    assert f"1 of {NUM + 1} images cannot be used" in bad.stderr.splitlines()[-1]
    random_run(tmp_path / "run", "tiny/trace8w16", 16)
    other = ended([str(tmp_path / "run") if "run" in part else part for part in command])
    assert other.returncode == 2
    assert "holds predictions by" in other.stderr.splitlines()[-1]


def worker_of(cluster):
    """Process id of a worker of this cluster, None while there is none."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                raylet = parent_of(place.name)
                if parent_of(raylet) == cluster.pid:
                    return int(place.name)
        except OSError:  # it has ended
            continue
    return None


def parent_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_nothing_is_lost_or_twice_when_workers_and_the_command_are_killed(
    cluster, folder, tmp_path
):
    moments, output = random.Random(), tmp_path / "out"
    killed = 0
    for victims in ("command", "worker and command", "worker"):
        command, before = command_of(cluster, folder, output), len(parts_of(output))
        with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as driver:
            while driver.poll() is None and len(parts_of(output)) == before:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.2))
            worker = worker_of(cluster)
            if "worker" in victims and worker is not None:
                os.kill(worker, signal.SIGKILL)
                killed += 1
                time.sleep(moments.uniform(0, 0.2))
            if "command" in victims:
                driver.kill()
            reason = driver.communicate()[1].decode()
    assert driver.returncode == 0, reason
    assert killed
    assert_whole(output, folder)


_BOTH_WAYS = """
import sys
from dataclasses import replace
from pathlib import Path
import pyarrow as pa
from owdfa.cluster import connect
from owdfa.errors import UserError
from owdfa.inference.lists import name_files
from owdfa.inference.session import ComputeOptions
from owdfa.stages.predict.job import JobFolder
from owdfa.stages.predict.ray_data import Resources, describe_remotely, predict_shards
from owdfa.stages.predict.workers import Task
address, run, photos, output = sys.argv[1], *map(Path, sys.argv[2:])
folder, options = JobFolder(output), ComputeOptions()
listed = folder.write_list(name_files(photos), 100)
with connect(address) as ray:
    found = []
    for gpus in (0, 1):
        resources = Resources(1, 1, gpus)
        network = describe_remotely(ray, run, "photos", options, resources)
        task = Task(run, options, folder, network, 2)
        tables = list(predict_shards(ray, task, resources, range(-(-listed.num_images // 100))))
        order = [("shard", "ascending"), ("row", "ascending")]
        found.append(pa.concat_tables(tables).sort_by(order))
    assert found[0].num_rows == listed.num_images
    assert found[0].equals(found[1])
    assert len(found[0]["error"]) - found[0]["error"].null_count == 1
    metadata = network.metadata.model_copy(update={"engine": "another"})
    task = replace(task, network=network._replace(metadata=metadata))
    try:
        list(predict_shards(ray, task, resources, [0]))
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
@needs_ray
def test_crops_that_tasks_make_are_predicted_as_those_of_the_worker(cluster, folder, tmp_path):
    paths = [folder / "run", folder / "photos", tmp_path / "out"]
    found = ended([sys.executable, "-c", _BOTH_WAYS, cluster.address, *map(str, paths)])
    assert found.returncode == 0, found.stderr
    assert "is not the same on every machine" in found.stdout.splitlines()[-1]


def test_without_ray_the_extra_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    images = (folder / "run", folder / "photos")
    line = refused("predict", *images, "-o", tmp_path / "o", "--ray", "auto")
    assert line == "owdfa: --ray: needs ray, which is not installed; pip install 'owdfa[ray]'"
    assert not (tmp_path / "o").exists()


def test_what_a_cluster_does_not_predict_is_refused(folder, tmp_path):
    ray, output = ("--ray", "auto"), tmp_path / "out"
    line = refused("predict", folder / "run", "split:test", "-o", output, *ray)
    assert "split:test: is predicted on one machine; leave --ray out" in line
    line = refused("predict", folder / "run", folder, "-o", folder / "one.parquet", *ray)
    assert "one.parquet: is a file; with --ray, name a folder with -o" in line
    line = refused("predict", folder / "run", folder, "-o", output, *ray, "--shard", "0")
    assert "predict: shard" in line
