"""Delivery of training batches: from a prepared store, or from files at every read.

    python -m benchmarks.delivery [--rounds 5] [--sides 512 768 1024] [--folder DIR] [--quick]

The plain way opens each JPEG file, decodes it, searches it for a face, crops, and makes both views
by torchvision, at every read of every epoch. Ours reads the crops that ``prepare`` made once, and
makes the same two views. Both use torch's loader and the same number of cores; ours, in a process
of its own, keeps its memory, as a training on a CPU does. ``--folder`` takes your own photographs
in place of drawn ones, at the size that they have.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.baseline.reading import MEAN, STD, batches
from benchmarks.harness import RESULTS, Comparison, Report, elsewhere, pairs, seconds
from benchmarks.machine import copy_bandwidth
from benchmarks.photos import photographs
from owdfa.images.decode import decode
from owdfa.loading.pixels import Normalise, jitter, resize, unfilled
from owdfa.images.store import Store
from owdfa.loading.views import ViewSettings
from owdfa.loading.batches import LoaderSettings, TrainingLoader
from owdfa.records.split import TrainingRows
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan
from owdfa.training.memory import keep_memory


class Case(NamedTuple):
    """A row of the table."""

    side: int  # of the files, in pixels
    store: int  # side of the crops
    size: int  # side of the views
    cores: int
    workers: int | None = None  # of both loaders; None: one a core for plain, threads for ours


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    options = parsed(arguments)
    cores = len(os.sched_getaffinity(0))
    report = Report("delivery", __doc__)
    with tempfile.TemporaryDirectory() as name:
        rows = cases(options.sides, options.sizes, cores)
        for case in rows:
            report.add(compared(case, options, Path(name)))
        paths = photographs(Path(name, f"files-{rows[0].side}"), rows[0].side, options.files)
        store = prepared(paths, Path(name), rows[0].store)
        report.table(*reads(store, paths, 100 if options.quick else 2000))
        report.table(*parts(store, rows[0].size))
    report.note(
        "A file is read once in an epoch, by either way; what ours spends before the first epoch is"
        " measured by first_pass."
    )
    report.note(
        "Where no workers are named, plain has one a core, and ours none: it makes its views in"
        " threads, which hand nothing from process to process."
    )
    report.note(
        "The limit counts the bytes of the crop read and of both views written, once each. Between"
        " it and ours lie resizing, which is arithmetic, and three passes over each view: to"
        " float32, times, plus. One pass with a fused product and sum would round otherwise."
    )
    report.write(results)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 768, 1024])
    parser.add_argument("--files", type=int, default=32, help="that the plain way reads a round")
    parser.add_argument("--images", type=int, default=512, help="that ours delivers a round")
    parser.add_argument("--folder", type=Path, help="own photographs")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(arguments)
    options.sizes = (64, 256)
    if options.quick:
        options.rounds, options.sides, options.files, options.images = 1, [96], 4, 8
        options.sizes = (16, 32)
    return options


def cases(sides: Sequence[int], sizes: tuple[int, int], cores: int) -> list[Case]:
    """What is measured: the paper's sizes for every file size, then others for the smallest."""
    small, paper = sizes
    kept = round(paper * 292 / 256)
    others = [Case(sides[0], kept, paper, 1)] if cores > 1 else []
    others += [Case(sides[0], paper, paper, cores), Case(sides[0], small, small, cores)]
    others += [Case(sides[0], kept, paper, cores, workers) for workers in range(1, cores + 1)]
    return [Case(side, kept, paper, cores) for side in sides] + others


def compared(case: Case, options: argparse.Namespace, folder: Path) -> Comparison:
    """Measure a row."""
    paths = photographs(folder / f"files-{case.side}", case.side, options.files, options.folder)
    store = prepared(paths, folder, case.store)
    workers = case.workers or (case.cores if case.cores > 1 else 0)
    torch.set_num_threads(case.cores)
    plain = batches(paths, case.size, batch_size=8, workers=workers)
    with elsewhere(our_epoch, store.folder, case, options.images) as ours:
        times = pairs(lambda: sum(len(weak) for weak, _ in plain), ours, options.rounds)
    num_bytes = 3 * (case.store**2 + 2 * 4 * case.size**2)
    source = "own photographs" if options.folder else f"{case.side} px files"
    return Comparison(
        what=f"two views of {case.size} px from {source}, ours through crops of {case.store} px,"
        f" {case.cores} core{'s' * (case.cores > 1)}"
        f"{f', workers: {case.workers}' if case.workers else ''}",
        unit="ms an image",
        baseline=[1e3 * each / options.files for each in times[0]],
        ours=[1e3 * each / options.images for each in times[1]],
        goal=None if case.workers else 30,
        limit=1e3 * num_bytes / copy_bandwidth(),
        limit_is="bytes of crop and views at the speed of a copy",
        at={} if options.folder else sizes_of(case, options.sides[0]),
    )


def our_epoch(folder: Path, case: Case, images: int) -> Callable[[], object]:
    """An epoch in a process like that of ``owdfa train`` on a CPU."""
    torch.set_num_threads(case.cores)
    keep_memory()
    store = Store.open(folder)
    settings = LoaderSettings(
        batch_size=min(64, images),
        workers=case.workers or 0,
        images_per_epoch=images,
        sampling="shuffled",
        views=ViewSettings(size=case.size),
    )
    rows = TrainingRows(store.ids, np.zeros(len(store.ids), np.int64))
    loader = TrainingLoader(store, rows, settings, mean=MEAN, std=STD, seed=0)
    epochs = count()
    return lambda: sum(len(batch.labels) for batch in loader.epoch(next(epochs)))


def sizes_of(case: Case, first: int) -> dict[str, float]:
    """What the paper's views are plotted against: files of each size, and cores for the first."""
    if case.workers:
        return {"workers of the loader": case.workers}
    if case.store == case.size:
        return {}
    side = {"side of the file, px": case.side} if case.cores > 1 else {}
    return side | ({"cores": case.cores} if case.side == first else {})


def prepared(paths: Sequence[Path], folder: Path, size: int) -> Store:
    """The store of these files, of crops of ``size`` pixels."""
    place = folder / f"{paths[0].parent.name}-{size}"
    if place.exists():
        return Store.open(place)
    manifest = folder / f"{place.name}.parquet"
    scan(f"folder:{paths[0].parent}", manifest)
    return prepare(manifest, place, faces="dlib", size=size)


def reads(
    store: Store, paths: Sequence[Path], rounds: int
) -> tuple[str, list[str], list[list[object]]]:
    """A table: time to read a crop, and to decode the file that it came from."""
    order = np.random.default_rng(0).permutation(rounds) % len(paths)
    copies = microseconds(lambda i: store.pixels[i].copy(), order)
    decodes = microseconds(lambda i: decode(paths[i]), order[: max(1, rounds // 20)])
    head = ["what", "median, us", "99 %, us"]
    first = [f"a crop of {store.size} px from the store", *copies]
    return "One read, in random order", head, [first, ["decoding its JPEG file", *decodes]]


def parts(store: Store, size: int) -> tuple[str, list[str], list[list[object]]]:
    """A table: what our share of an image is made of, on one core."""
    torch.set_num_threads(1)
    crops = store.pixels[np.arange(32) % len(store.ids)]
    views, side = resize(crops, size), store.size
    used, normalise = unfilled(len(crops), size), Normalise(MEAN, STD)
    used[:] = 0

    def fill(target: np.ndarray) -> None:
        for view, place in zip(views, target, strict=True):
            normalise(view, place)

    box = crops[:, : side * 4 // 5, : side * 4 // 5]
    bright, contrast = np.float32(1.2), np.float32(0.8)
    work: dict[str, tuple[float, Callable[[], object]]] = {
        "crop copied from the store": (1, crops.copy),
        "resize, both views": (1.36, lambda: resize(crops, size)),
        "random crop of the strong view": (0.2, lambda: [resize(one[None], side) for one in box]),
        "jitter of the strong view": (
            0.2,
            lambda: [jitter(one, bright, contrast, contrast_first=True) for one in crops],
        ),
        "levels to float32, both views, into used memory": (2, lambda: fill(used)),
        "the same into fresh memory, as it is": (2, lambda: fill(unfilled(len(crops), size))),
    }
    rows: list[list[object]] = []
    for what, (share, once) in work.items():
        took = statistics.median(seconds(once) for _ in range(7)) / len(crops)
        rows.append([what, f"{share:g}", 1e3 * share * took])
    return "What an image of ours is made of, one core", ["part", "times", "ms an image"], rows


def microseconds(function: Callable[[int], object], order: np.ndarray) -> tuple[float, float]:
    """Median and 99th percentile of the time of a call."""
    times = []
    for i in order:
        start = time.perf_counter()
        function(int(i))
        times.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times), float(np.quantile(times, 0.99))


if __name__ == "__main__":
    main()
