"""Batches of training views: from the store, or from files at every read, on the same cores.

    python -m benchmarks.delivery [--rounds 5] [--quick]

Plain opens each JPEG file, decodes it, searches it for a face or takes all of it, and makes both
views by torchvision in as many processes as there are cores. Ours reads the crops that ``prepare``
made once, and makes the same two views in threads; it keeps its memory, as the command line does.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.baseline.reading import batches, frontal_faces
from benchmarks.harness import Report, elsewhere, pairs
from owdfa.cli.process import keep_memory
from owdfa.datasets.lab import LabSettings, draw
from owdfa.images.store import Store
from owdfa.loading.batches import LoaderSettings, TrainingLoader
from owdfa.loading.views import TrainingViews, ViewSettings
from owdfa.records.split import TrainingRows
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan

_PAPER = {"flip": 0.5, "crop": 0.2, "jitter": 0.2}


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(argv)
    report = report or Report("delivery")
    rounds, side, num_files, num_images = options.rounds, 512, 32, 512
    sizes = ((256, 292), (64, 64))
    if options.quick:
        rounds, side, num_files, num_images, sizes = 1, 96, 4, 8, ((32, 36),)
    with tempfile.TemporaryDirectory() as name:
        paths = photographs(Path(name, "files"), side, num_files)
        manifest = Path(name, "images.parquet")
        scan(f"folder:{paths[0].parent}", manifest)
        for size, crop in sizes:
            store = prepare(manifest, Path(name, f"store-{crop}"), faces="dlib", size=crop).folder
            with elsewhere(our_epoch, store, size, crop, num_images) as ours:
                for faces in (True, False):
                    with elsewhere(plain_epoch, paths, size, faces) as plain:
                        old, new = pairs(plain, ours, rounds)
                    how = "searching for a face" if faces else "without a face detector"
                    report.compare(
                        f"two views of {size} px from files of {side} px, plain {how}",
                        "ms an image",
                        ([1e3 * t / num_files for t in old], [1e3 * t / num_images for t in new]),
                        30 if faces else None,
                    )


def photographs(folder: Path, side: int, count: int) -> list[Path]:
    """JPEG files with faces; of a few drawn pictures that differ, the rest are copies."""
    few = LabSettings(methods_per_family=1, images_per_method=1, real_images=4, size=side, seed=1)
    draw(folder.with_name("drawn"), few)
    drawn = sorted(folder.with_name("drawn").rglob("*.jpg"))
    folder.mkdir()
    paths = [folder / f"{i:04}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        Image.open(drawn[i % len(drawn)]).save(path, quality=90)
    return paths


def plain_epoch(paths: Sequence[Path], size: int, faces: bool) -> Callable[[], object]:
    """An epoch of the plain loader."""
    cores = len(os.sched_getaffinity(0))
    detector = frontal_faces() if faces else None
    loader = batches(paths, size, detector, batch_size=8, workers=cores if cores > 1 else 0)
    return lambda: sum(len(weak) for weak, _ in loader)


def our_epoch(folder: Path, size: int, crop: int, num_images: int) -> Callable[[], object]:
    """An epoch in a process like that of ``owdfa train`` on a CPU."""
    keep_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    store = Store.open(folder)
    settings = LoaderSettings(
        batch_size=min(64, num_images),
        images_per_epoch=num_images,
        views=ViewSettings(size=size, crop_size=crop, **_PAPER),
    )
    views = TrainingViews(("weak", "strong"), settings.views, seed=0)
    rows = TrainingRows(store.ids, np.zeros(len(store.ids), np.int64))
    loader, epochs = TrainingLoader(store, rows, settings, views), count()
    return lambda: sum(len(batch.labels) for batch in loader.epoch(next(epochs)))


if __name__ == "__main__":
    main()
