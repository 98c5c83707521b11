"""Speed of the store, measured beside what it replaces, in one run.

    python benchmarks/store.py [--images 512] [--side 512] [--size 292]

It draws JPEG files into a temporary folder, prepares them with every face detector, reads samples
in random order from the store and decodes the same files as often, and makes training batches.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from owdfa.images.decode import DECODER, decode
from owdfa.images.faces import FACES
from owdfa.images.store import Store
from owdfa.images.views import ViewSettings
from owdfa.loader import LoaderSettings, TrainingLoader
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.split import TrainingRows
from owdfa.stages.prepare import prepare

BATCH = 64
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def draw_files(folder: Path, count: int, side: int) -> Path:
    """Write smooth random pictures with some grain as JPEG, and their manifest."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-8, 9, smooth.shape, dtype=np.int16)
        path = folder / f"{i:05}.jpg"
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        row = {"id": path.name, "path": str(path), "class": "real", "group": path.name}
        rows.append(row | {"sha256": digest})
    manifest = folder / "images.parquet"
    Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), "benchmark").write(manifest)
    return manifest


def microseconds(function: Callable[[int], object], order: np.ndarray) -> str:
    """Median and 99th percentile of a call over ``order``."""
    times = []
    for i in order.tolist():
        start = time.perf_counter()
        function(i)
        times.append(1e6 * (time.perf_counter() - start))
    return f"{statistics.median(times):8.1f} us   99 %: {np.percentile(times, 99):8.1f} us"


def read_samples(manifest: Path, store: Store, count: int) -> None:
    paths = [Path(path) for path in Manifest.read(manifest).table["path"].to_pylist()]
    order = np.random.default_rng(1).permutation(len(paths)).repeat(count // len(paths) + 1)[:count]
    print(f"sample from the store  {microseconds(lambda i: np.array(store.pixels[i]), order)}")
    print(f"decoding its JPEG      {microseconds(lambda i: decode(paths[i]), order)}")


def make_batches(manifest: Path, folder: Path, store_size: int, size: int) -> None:
    store = prepare(manifest, folder / f"batches-{store_size}", size=store_size)
    labels = np.arange(len(store.ids)) % 2 - 1
    settings = LoaderSettings(batch_size=BATCH, views=ViewSettings(size=size))
    loader = TrainingLoader(store, TrainingRows(store.ids, labels), settings, **IMAGENET, seed=0)
    times = []
    for epoch in range(6):
        batches = loader.epoch(epoch)
        for _ in range(len(store.ids) // BATCH):
            start = time.perf_counter()
            next(batches)
            times.append(1e3 * (time.perf_counter() - start))
    label = f"two views of {BATCH} images, {store_size} -> {size} px"
    print(f"{label}: median {statistics.median(times):.1f} ms, best {min(times):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--size", type=int, default=292)
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start; {vars(options)}")
    print(f"torch {torch.__version__}, {DECODER}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = draw_files(folder, options.images, options.side)
        for faces in FACES:
            start = time.perf_counter()
            store = prepare(manifest, folder / faces, faces=faces, size=options.size)
            speed = options.images / (time.perf_counter() - start)
            print(f"prepare, faces {faces}: {speed:.0f} images/s, all cores, start included")
        read_samples(manifest, store, 2000)
        for store_size, size in ((64, 64), (73, 64), (292, 256)):
            make_batches(manifest, folder, store_size, size)


if __name__ == "__main__":
    main()
