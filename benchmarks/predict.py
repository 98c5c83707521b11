"""Prediction on a CPU: ``owdfa predict`` and its network alone, against a plain loop.

    python -m benchmarks.predict [--rounds 7] [--quick]

The networks are CAL with random weights: what they say does not matter, how long it takes does.
From start to end both ways import what they need, load the network, decode, resize and predict.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.baseline.predicting import plain_network
from benchmarks.harness import Report, elsewhere, number, pairs
from owdfa.backbones.base import build
from owdfa.cli.process import keep_memory
from owdfa.images.workers import threaded_map
from owdfa.inference.predictor import Predictor
from owdfa.loading.views import PlainView
from owdfa.runs.run import Run, assemble, create_imported
from owdfa.runs.settings import load_settings

_NUM_KNOWN = 20
_IMAGES = 8  # that the network alone is given


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(argv)
    report, rounds, side = report or Report("predict"), options.rounds, 768
    cases = (("tiny/trace8w16", 64, 1, 200), ("torchvision/resnet50", 256, 2.5, 64))
    if options.quick:
        rounds, side, cases = 1, 64, (("tiny/trace8w16", 32, 1, 9),)
    for backbone, size, goal, num_files in cases:
        with tempfile.TemporaryDirectory() as name:
            run, what = Path(name, "run"), f"{backbone}, {size} px"
            random_run(run, backbone, size)
            with elsewhere(plain_calls, run) as theirs, elsewhere(our_calls, run) as own:
                times = pairs(theirs, own, 2 * rounds)
            report.compare(f"network alone, {what}, {_IMAGES} images", "s", times, goal)
            for num, pixels in ((8, 96), (num_files, side)):
                files = f"{num} files of {pixels} px"
                folder = write_files(Path(name, files), num, pixels)
                plain = partial(command, "benchmarks.baseline.predicting", run, folder)
                ours = partial(command, "owdfa", "predict", run, folder, "-o", f"{run}.parquet")
                times = pairs(plain, ours, rounds)
                report.compare(f"from start to end, {what}, {files}", "s", times)
                if num == 8 and backbone.startswith("tiny"):
                    best = statistics.median(times[1])
                    goal_is = f"owdfa predict, {what}, {files}"
                    report.add(goal_is, f"{number(best)} s", "less than 0.6 s", best < 0.6)


def random_run(folder: Path, backbone: str, size: int, faces: str = "none") -> None:
    """Write a run of CAL whose weights are random."""
    changes = [f"backbone.name={backbone}", f"data.views.size={size}", "device=cpu"]
    settings = load_settings("cal", None, changes)
    torch.manual_seed(0)
    known = tuple(f"type-{i}" for i in range(_NUM_KNOWN))
    weights = assemble(settings, _NUM_KNOWN, build(backbone)).state_dict()
    create_imported(folder, settings, known, weights, faces=faces, store_size=size)


def write_files(folder: Path, count: int, side: int) -> Path:
    """Write JPEG files of smooth noise."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:03}.jpg")
    return folder


def crops_of(run: Path) -> np.ndarray:
    """Crops of noise, as the run takes them."""
    side = Run.open(run).metadata.store_size
    return np.random.default_rng(0).integers(0, 256, (_IMAGES, side, side, 3), dtype=np.uint8)


def plain_calls(run: Path) -> Callable[[], object]:
    """Calls of the plain network, with every core, on images that are ready."""
    metadata, network = Run.open(run).metadata, plain_network(run)
    images = PlainView(metadata.image_size, metadata.mean, metadata.std)(crops_of(run))
    return torch.no_grad()(lambda: network(images))


def our_calls(run: Path) -> Callable[[], object]:
    """Calls of what ``owdfa predict`` predicts with, in as many threads as it takes."""
    keep_memory()
    crops, cores = crops_of(run), len(os.sched_getaffinity(0))
    predictor = Predictor.open(run, num_callers=cores)
    parts = np.array_split(crops, cores)
    return lambda: list(threaded_map(predictor.predict_batch, parts, cores))


def command(module: str, *arguments: str | Path) -> None:
    """Run a module from the start of its process to its end."""
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main()
