"""Bulk prediction on a Ray cluster of this machine's cores: two workers against one, and memory.

    python -m benchmarks.cluster [--images 20000] [--rounds 3] [--photos FOLDER] [--faces dlib]
    python -m benchmarks.cluster --rows 1000000          # peak memory; one pass, no pairs
    python -m benchmarks.cluster --quick

The network is CAL's ``tiny/trace8w16`` with random weights, exported. A list names the same files
again and again. Ray is started once; what is timed is a whole job, the start of its workers
included. "plain" is one worker, "ours" are two.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Report, number, pairs
from benchmarks.predict import random_run, write_files
from owdfa.cluster import connect
from owdfa.inference.lists import name_files
from owdfa.stages.export import export
from owdfa.stages.predict.shards import ClusterOptions, predict_on_cluster

_WORKER = b"ray::MapWorker"  # what Ray calls its processes


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rows", type=int, help="measure the memory of a list of so many instead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="a folder; by default 256 files are drawn")
    parser.add_argument("--faces", default="none", help="none or dlib")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(argv)
    report = report or Report("cluster" if options.rows is None else "cluster-memory")
    images, rounds, num_files, side = options.images, options.rounds, 256, 256
    if options.quick:
        images, rounds, num_files, side = 40, 1, 8, 48
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = options.photos or write_files(folder / "photos", num_files, side)
        random_run(folder / "run", "tiny/trace8w16", 64, options.faces)
        export(folder / "run", folder / "model.onnx", check=photos)
        what = f"faces {options.faces}, files of {photos.name if options.photos else f'{side} px'}"
        listed = write_list(folder / "list", photos, options.rows or images)
        if options.rows is not None:
            memory(report, folder, listed, what)
            return
        with connect("auto"):
            work = [partial(predict, folder, listed, images // 20, num) for num in (1, 2)]
            times = pairs(*work, rounds)
        goal = None if options.quick else 1.7
        report.compare(f"{images:,} images, {what}: two workers", "s", times, goal)


def memory(report: Report, folder: Path, listed: Path, what: str) -> None:
    """Report the rate, and the most that the processes hold, of one pass over a list."""
    rows = pq.read_metadata(listed).num_rows
    command = [sys.executable, "-m", "owdfa", "predict", folder / "model.onnx", listed]
    options = ["-o", folder / "out", "--ray", "auto", "--workers", "2", "--max-bad", "0.5"]
    peaks: dict[str, float] = {}
    start = time.perf_counter()
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            note_peaks(peaks, process.pid)
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(process.returncode)
    rate = number(rows / (time.perf_counter() - start))
    held = ", ".join(f"{name} {peaks[name]:.0f} MiB" for name in sorted(peaks))
    report.add(f"{rows:,} rows, {what}: images/s, Ray's start included", rate)
    report.add(f"{rows:,} rows, {what}: peak memory of a process", held)


def note_peaks(peaks: dict[str, float], command: int) -> None:
    """Keep the most MiB that the command, and any worker of a cluster on this machine, held."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, StopIteration):  # it has ended
            is_worker = (place / "cmdline").read_bytes().startswith(_WORKER)
            if is_worker or place.name == str(command):
                lines = (place / "status").read_text().splitlines()
                held = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                name = "worker" if is_worker else "command"
                peaks[name] = max(peaks.get(name, 0), held / 1024)


def predict(folder: Path, listed: Path, shard: int, workers: int) -> None:
    """Predict a list into a new folder."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    options = ClusterOptions(ray="auto", shard=shard, workers=workers)
    predict_on_cluster(folder / "model.onnx", listed, folder / "out", options, max_bad=0.5)


def write_list(path: Path, photos: Path, rows: int) -> Path:
    """A list of so many rows, of the same files again and again."""
    files = [file.path for file in name_files(photos).files]
    with pq.ParquetWriter(path, pa.schema([("path", pa.string())])) as writer:
        for first in range(0, rows, 100_000):
            some = range(first, min(first + 100_000, rows))
            writer.write_table(pa.table({"path": [files[i % len(files)] for i in some]}))
    return path


if __name__ == "__main__":
    main()
