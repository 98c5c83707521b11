"""Peak memory of a training run against the number of images in its epoch.

    python benchmarks/memory.py [--images 200 2000 20000] [--epochs 2]

A store of random crops and its split are written once, for the largest number; each training is a
process of its own and reports the most memory that it ever held. Prints a row a training.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from owdfa.images.store import IDS, StoreBasis, write_notes
from owdfa.records.manifest import SCHEMA as MANIFEST
from owdfa.records.manifest import Manifest
from owdfa.records.split import SCHEMA as ROLES
from owdfa.records.split import Basis, Split

SIDE = 64
CLASSES = ("real", "swap", "warp", "paint")  # the first two are known
NETWORK = ["backbone.name=tiny/trace8w16", f"data.views.size={SIDE}", "data.batch_size=64"]


def draw(folder: Path, num_images: int) -> Path:
    """Write manifest, store and split of random crops; return the split."""
    ids = [f"{i:07}.png" for i in range(num_images)]
    classes = [CLASSES[i % len(CLASSES)] for i in range(num_images)]
    roles = ["labelled" if name in CLASSES[:2] else "unlabelled" for name in classes]
    rows = [
        {"id": id_, "path": str(folder / id_), "class": name, "group": id_, "sha256": id_}
        for id_, name in zip(ids, classes, strict=True)
    ]
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    manifest = Manifest(table, "folder:random", folder / "store")
    manifest.write(folder / "images.parquet")
    (folder / "store").mkdir()
    generator = np.random.default_rng(0)
    with (folder / "store" / "pixels.bin").open("wb") as stream:
        for _ in range(num_images):
            stream.write(generator.bytes(SIDE * SIDE * 3))
    digest = manifest.digest()
    basis = StoreBasis(SIDE, "none", "random", digest)
    write_notes(folder / "store", table.select(IDS.names), basis, digest, {})
    split = pa.table([ids, roles, classes, ids], schema=ROLES)
    origin = Basis(str(folder / "images.parquet"), digest, None, "group", 0, 0.5, 0.0, 0.0)
    Split(split, CLASSES[:2], CLASSES[2:], origin).write(folder / "split")
    return folder / "split"


def train(split: Path, output: Path, num_images: int, epochs: int) -> None:
    """Train, and print the most memory that this process held, in MiB."""
    from owdfa.runs.settings import load_settings
    from owdfa.stages.train import train as stage

    own = [*NETWORK, "device=cpu", f"epochs={epochs}", f"data.images_per_epoch={num_images}"]
    stage(split, output, settings=load_settings(None, None, own))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2_000, 20_000])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--train", nargs=2, type=Path, help="split and output: one training")
    options = parser.parse_args()
    if options.train:
        train(*options.train, options.images[0], options.epochs)
        return
    with tempfile.TemporaryDirectory() as name:
        split = draw(Path(name), max(options.images))
        print("| images in an epoch | epochs | peak memory, MiB |")
        print("|---|---|---|")
        for count in options.images:
            command = [sys.executable, __file__, "--train", str(split), f"{name}/run-{count}"]
            command += ["--images", str(count), "--epochs", str(options.epochs)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"| {count} | {options.epochs} | {float(done.stdout.split()[-1]):.0f} |")


if __name__ == "__main__":
    main()
