"""The first pass over a data set: scan, detect faces, crop, store; against one plain read.

    python -m benchmarks.first_pass [--rounds 3] [--side 512] [--files 128] [--folder DIR] [--quick]

The plain way pays for decoding and the face at every read of every epoch; here it pays for one
epoch. Ours is ``scan`` and ``prepare`` on the same files, start of its processes included, so that
everything from the second read on is gain. ``--folder`` takes your own photographs.
"""

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import RESULTS, Comparison, Report, pairs, seconds
from benchmarks.photos import photographs
from owdfa.images.decode import decoded, read
from owdfa.images.faces import DlibDetector, crop_face
from owdfa.images.phash import phash, thumb
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan

_STORE, _VIEW = 292, 256


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    options = parsed(arguments)
    cores = len(os.sched_getaffinity(0))
    report = Report("first_pass", __doc__)
    with tempfile.TemporaryDirectory() as name:
        paths = photographs(Path(name, "files"), options.side, options.files, options.folder)
        source = "own photographs" if options.folder else f"{options.side} px files"
        parts = stages(paths)
        least = sum(parts[part] for part in ("read", "decode", "face")) / 1e3
        for workers in (0, cores):
            comparison = compared(paths, Path(name), options.rounds, workers, cores)
            note = f"{source} to {_STORE} px; {comparison.what}"
            limit = 1e3 * least / cores
            report.add(replace(comparison, what=note, limit=limit))
        few = photographs(Path(name, "few"), options.side, cores, options.folder)
        begin = seconds(lambda: first_pass(few[0].parent, Path(name), cores))
        report.table(*busy(paths, Path(name), cores))
        total = sum(parts.values())
        rows = [[part, took, f"{took / total:.1%}"] for part, took in parts.items()]
    report.table(f"Where the time of a file goes, {source}", ["part", "ms", "share"], rows)
    report.note(
        "Nearly all of it is dlib's search for faces, on the image as it is: a smaller image, or"
        " another detector, would find other boxes than the releases, and boxes are evidence."
    )
    report.note(
        f"Of ours on {cores} cores, {begin:.1f} s are the start of its processes and the search in"
        " one image each: an hour's work does not see them."
    )
    report.write(results)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--files", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="own photographs")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.side, options.files = 1, 96, 4
    return options


def compared(paths: list[Path], folder: Path, rounds: int, workers: int, cores: int) -> Comparison:
    """Measure a row: plain reading by ``workers`` processes, or one, against ours on all cores."""
    from benchmarks.baseline.reading import batches  # not for the processes that prepare starts

    plain = batches(paths, _VIEW, batch_size=8, workers=workers)
    times = pairs(
        lambda: sum(len(weak) for weak, _ in plain),
        lambda: first_pass(paths[0].parent, folder, cores),
        rounds,
    )
    return Comparison(
        what=f"plain: one read, {workers or 1} core{'s' * (workers > 1)};"
        f" ours: scan and prepare, {cores} cores",
        unit="ms an image",
        baseline=[1e3 * each / len(paths) for each in times[0]],
        ours=[1e3 * each / len(paths) for each in times[1]],
        goal=1,
        limit_is="reading, decoding and dlib's search, on every core",
    )


def first_pass(files: Path, folder: Path, jobs: int) -> None:
    """From files to a store, which is thrown away."""
    scan(f"folder:{files}", folder / "images.parquet")
    prepare(folder / "images.parquet", folder / "store", faces="dlib", size=_STORE, jobs=jobs)
    shutil.rmtree(folder / "store")


def busy(paths: list[Path], folder: Path, cores: int) -> tuple[str, list[str], list[list[object]]]:
    """A table: processor time over elapsed time of the first pass, the processes it starts too."""
    before, start = processor_time(), time.perf_counter()
    first_pass(paths[0].parent, folder, cores)
    elapsed, used = time.perf_counter() - start, processor_time() - before
    head = ["files", "elapsed, s", "processor, s", "cores busy", "of"]
    row: list[object] = [str(len(paths)), elapsed, used, used / elapsed, str(cores)]
    return "Cores that the first pass keeps busy", head, [row]


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def stages(paths: Sequence[Path]) -> dict[str, float]:
    """Milliseconds of each part of the work on a file, one core, median over files."""
    detector = DlibDetector()
    rows = []
    for path in paths[:16]:
        row: dict[str, float] = {}

        def timed(part: str, work: Callable[[], object], row: dict[str, float] = row) -> None:
            row[part] = 1e3 * seconds(work)

        data = read(path)
        image = decoded(data, path)
        face = next(iter(detector.detect(np.asarray(image))), None)
        crop = crop_face(image, face)
        thumbs = thumb(image)[None]
        timed("read", lambda path=path: read(path))
        timed("SHA-256, in scan and again in prepare", lambda data=data: sha256_twice(data))
        timed("decode", lambda data=data, path=path: decoded(data, path))
        timed("face", lambda image=image: detector.detect(np.asarray(image)))
        timed("crop and resize", lambda crop=crop: resized(crop))
        timed("hash of its look", lambda image=image, thumbs=thumbs: (thumb(image), phash(thumbs)))
        rows.append(row)
    return {part: statistics.median(row[part] for row in rows) for part in rows[0]}


def sha256_twice(data: bytes) -> None:
    for _ in range(2):
        hashlib.sha256(data).hexdigest()


def resized(crop: Image.Image) -> np.ndarray:
    return np.asarray(crop.resize((_STORE, _STORE), Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main()
