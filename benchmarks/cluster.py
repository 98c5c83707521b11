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
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Report, number, pairs, seconds
from benchmarks.predict import random_run, write_files
from owdfa.cluster import connect
from owdfa.inference.lists import name_files
from owdfa.stages.export import export
from owdfa.stages.predict.shards import ClusterOptions, predict_on_cluster

_WORKER, _DRIVER = b"ray::MapWorker", Path("/proc/self/status")


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
        with connect("auto"):
            if options.rows is None:
                listed = write_list(folder / "list", photos, images)
                work = [partial(predict, folder, listed, images // 20, num) for num in (1, 2)]
                times = pairs(*work, rounds)
                goal = None if options.quick else 1.7
                report.compare(f"{images:,} images, {what}: two workers", "s", times, goal)
            else:
                memory(report, folder, write_list(folder / "list", photos, options.rows), what)


def memory(report: Report, folder: Path, listed: Path, what: str) -> None:
    """Report the rate, and the most that the processes hold, of one pass over a list."""
    rows = pq.read_metadata(listed).num_rows
    with highest_memory() as peaks:
        took = seconds(partial(predict, folder, listed, 10_000, 2))
    held = ", ".join(f"{name} {peaks[name]:.0f} MiB" for name in sorted(peaks))
    report.add(f"{rows:,} rows, {what}: images/s", number(rows / took))
    report.add(f"{rows:,} rows, {what}: peak memory of a process", held)


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


@contextmanager
def highest_memory() -> Iterator[dict[str, float]]:
    """MiB that this process and any worker held at most; complete when the block has ended."""
    peaks: dict[str, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            for place in Path("/proc").glob("[0-9]*"):
                note_peak(peaks, place)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        ended.set()
        watching.join()
    peaks["command"] = _resident(_DRIVER)


def note_peak(peaks: dict[str, float], place: Path) -> None:
    try:
        if (place / "cmdline").read_bytes().startswith(_WORKER):
            peaks["worker"] = max(peaks.get("worker", 0), _resident(place / "status"))
    except (OSError, StopIteration):  # it has ended
        return


def _resident(status: Path) -> float:
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
