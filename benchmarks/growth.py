"""Scan, split and score of ten million images: time and peak memory.

    python -m benchmarks.growth [--images 10000000] [--cap 24] [--folder DIR] [--keep] [--no-files]

The files are names of 500 small PNGs (hard links: one file, many names), a class and a video in
each path, 63 characters below the root. Each stage is a process of its own with a limit of ``cap``
GiB. Every image is a group of its own, and half of the classes are known. The predictions to score
are drawn: 80 % of the test images right. Ten million take an hour on two busy cores and some 8 GB
of disk; ``--no-files`` draws the manifest instead of scanning, a matter of minutes. Nothing of this
is part of ``make bench``.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.drawn import FRAMES, draw_manifest, draw_predictions, names_of
from benchmarks.harness import RESULTS, Report
from benchmarks.peak import cost

ORIGINALS = 500  # a file may have 65,000 names on ext4
CLASSES = 100


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> None:
    options = parsed(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="owdfa-growth-"))
    command = "python -m benchmarks.growth" + " --no-files" * options.no_files
    report = Report("growth", __doc__, f"{command} --images {options.images} --cap {options.cap:g}")
    rows: list[list[Any]] = []

    def measure(what: str, work: Callable[[Path], int]) -> None:
        found = cost(work, folder, cap=options.cap)
        size = found.mib * 2**20 / found.result
        rows.append([what, found.result, found.seconds / 60, found.mib / 1024, size])
        print(
            f"{what}: {found.result:,} rows, {found.seconds:.0f} s, {found.mib:.0f} MiB", flush=True
        )

    try:
        if options.no_files:
            cost(draw_manifest, folder, options.images, CLASSES)
        else:
            if not (folder / "images").exists():
                cost(draw_files, folder, options.images)
            measure("scan", scanned)
        measure("split", splitted)
        cost(draw_predictions, folder)
        measure("score", scored)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    head = ["stage", "rows", "minutes", "peak memory, GiB", "bytes a row"]
    report.table(f"Each in a process with at most {options.cap:g} GiB", head, rows)
    report.note(
        "Peak memory is of the process, imports included; address space is what is limited. The "
        "files are in the page cache as far as it goes. Score reads the whole split; its rows are "
        "the test images."
    )
    report.write(results)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--cap", type=float, default=24, help="GiB of address space")
    parser.add_argument("--folder", type=Path, help="where to work; files there are used again")
    parser.add_argument("--no-files", action="store_true", help="draw the manifest: no scan")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    return parser.parse_args(arguments)


def draw_files(folder: Path, num_images: int) -> None:
    """Give 500 images many names: <class>/<video>/<frame>."""
    originals = folder / "originals"
    originals.mkdir(parents=True)
    generator = np.random.default_rng(0)
    sources = [str(originals / f"{i:03d}.png") for i in range(ORIGINALS)]
    for source in sources:
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((16, 16)).save(source)
    for image, name in enumerate(names_of(num_images, CLASSES)):
        path = f"{folder}/images/{name}"
        if image % FRAMES == 0:
            Path(path).parent.mkdir(parents=True)
        os.link(sources[image % ORIGINALS], path)


def scanned(folder: Path) -> int:
    from owdfa.stages.scan import scan  # here: a process should import no more than it needs

    return scan(f"folder:{folder / 'images'}", folder / "images.parquet").table.num_rows


def splitted(folder: Path) -> int:
    from owdfa.stages.split import SplitOptions, split

    options = SplitOptions(known=("*-0[0-4]?",))
    return split(folder / "images.parquet", folder / "split", options=options).table.num_rows


def scored(folder: Path) -> int:
    from owdfa.stages.score import score

    found = score(folder / "predictions.parquet", folder / "split", folder / "scores.json")
    return found.num_images["all"]


if __name__ == "__main__":
    main()
