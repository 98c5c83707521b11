"""Prediction on a folder of JPEG files: ours and its exported form against a plain loop.

    python -m benchmarks.predict [--rounds 7] [--side 768] [--files 480] [--quick]

Every way loads its network, decodes, crops, scores and keeps what it says of each image; ours also
writes the file of predictions. The networks are CAL with random weights: the numbers that they
say do not matter, how long it takes does. The export is timed against our own path in PyTorch.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baseline import predicting as plain
from benchmarks.baseline.reading import frontal_faces
from benchmarks.harness import RESULTS, Comparison, Report, elsewhere, pairs, seconds
from benchmarks.machine import conv_rate
from benchmarks.photos import photographs
from owdfa.backbones.base import build
from owdfa.images.faces import crop_pixels
from owdfa.loading.views import PlainView
from owdfa.images.workers import threaded_map
from owdfa.runs.assembly import assemble
from owdfa.runs.bundle import open_bundle
from owdfa.runs.run import Run, create_imported
from owdfa.runs.settings import load_settings
from owdfa.stages.export import export
from owdfa.stages.predict import predict
from owdfa.training.inference import predictor_of
from owdfa.training.memory import keep_memory

_NUM_KNOWN = 20
CROPS = 16  # that the network alone is given
_EXPORTED = "ONNX against our PyTorch: "


class Case(NamedTuple):
    """A network on some files."""

    backbone: str
    size: int  # of what it is shown, and of the crops
    faces: str
    share: float  # of the files: slow ways get fewer
    exported: bool
    lower: bool = False  # in bfloat16, too


CASES = (
    Case("tiny/trace8w16", 64, "none", 1.0, exported=True),
    Case("tiny/trace8w16", 64, "dlib", 0.1, exported=False),
    Case("torchvision/resnet50", 256, "none", 0.2, exported=True, lower=True),
)
TOYS = (Case("tiny/trace8w16", 64, "none", 1.0, exported=True, lower=True),)


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    options = parsed(arguments)
    report = Report("predict", __doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, case in enumerate(TOYS if options.quick else CASES):
            measure(report, case, folder / str(number), options)
    report.note(
        "The plain loop decodes on one core and computes on all; ours does both on every core. A"
        " limit is the time of decoding, face and resize divided by the cores, and the network's"
        " FLOP, all convolutions made directly, at the rate of its best one."
    )
    report.note(
        "bfloat16 is --precision bf16-mixed, an option that changes numbers; all else differs by"
        " rounding. Where nothing else is said, everything is imported before the clock starts; the"
        " command from start to end also imports, which ONNX needs no PyTorch for."
    )
    report.note(
        "What the exported form could gain on files before it meets the limit itself:"
        f" {' and '.join(room(report))}. What it does save is the start."
    )
    report.write(results)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--files", type=int, default=480)
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.side, options.files = 1, 96, 8
    return options


def measure(report: Report, case: Case, folder: Path, options: argparse.Namespace) -> None:
    """Add the rows of a case."""
    count = max(8, int(case.share * options.files))
    paths = photographs(folder / "files", options.side, count)
    run = random_run(folder / "run", case)
    name = f"{case.backbone}, {case.size} px"
    what = f"{count} files of {options.side} px, {name}, faces {case.faces}"
    model = folder / "model.onnx"
    if case.exported:
        export(run.folder, model, check=paths[:8])
    before = least(paths, run, case)

    def row(what: str, times: tuple[list[float], list[float]], goal: float) -> None:
        limit, limit_is = min(before, least(paths, run, case))  # machines have slow minutes
        report.add(Comparison(what, "ms an image", *each_of(times), goal, limit, limit_is))

    def each_of(times: tuple[list[float], list[float]]) -> list[list[float]]:
        return [[1e3 * each / count for each in one] for one in times]

    # Each in a process of its own: ours changes how its process keeps memory.
    output = folder / "ours.parquet"
    with elsewhere(plain_prediction, run.folder, paths, case) as theirs:
        with elsewhere(prediction, run.folder, paths, output) as ours:
            row(what, pairs(theirs, ours, options.rounds), 2)
            if case.exported:
                with elsewhere(prediction, model, paths, output) as exported:
                    times = pairs(ours, exported, options.rounds)
                row(f"{_EXPORTED}{what}", times, 1.3)
        if case.lower:
            with elsewhere(prediction, run.folder, paths, output, "bf16-mixed") as lower:
                times = pairs(theirs, lower, options.rounds)
            report.add(
                Comparison(f"{what}, ours in bfloat16 (option)", "ms an image", *each_of(times))
            )
    if case.exported:
        network_alone(report, run, model, options.rounds)
        photographs(folder / "few", 96, 8)
        for files, some in (("files", what), ("few", f"8 small files, {name}")):
            times = start_to_end(run.folder, model, folder / files, options.rounds)
            title = f"ONNX against our PyTorch: the command from start to end, {some}"
            report.add(Comparison(title, "s", *times, 1.3))


def room(report: Report) -> list[str]:
    """How many times their limit our PyTorch takes, where the exported form was tried beside it."""
    return [
        f"{statistics.median(row.baseline) / row.limit:.2f}x"
        for row in report.comparisons
        if row.limit and row.what.startswith(_EXPORTED)
    ]


def random_run(folder: Path, case: Case) -> Run:
    """A run of CAL whose weights are random."""
    settings = load_settings(
        None,
        None,
        [
            "method.name=cal",
            f"backbone.name={case.backbone}",
            f"data.views.size={case.size}",
            "device=cpu",
        ],
    )
    torch.manual_seed(0)
    known = tuple(f"type-{i}" for i in range(_NUM_KNOWN))
    weights = assemble(settings, _NUM_KNOWN, build(case.backbone)).state_dict()
    return create_imported(folder, settings, known, weights, faces=case.faces, store_size=case.size)


def prediction(
    place: Path, paths: Sequence[Path], output: Path, precision: str | None = None
) -> Callable[[], object]:
    """What ``owdfa predict`` does, by a run or by an exported network."""
    return lambda: predict(place, paths, output, precision=precision)


def plain_prediction(run: Path, paths: Sequence[Path], case: Case) -> Callable[[], object]:
    """The plain loop, its loading of the network included, that of the face detector not.

    Ours keeps a detector that it has loaded, too.
    """
    detector = None if case.faces == "none" else frontal_faces()

    def plainly() -> list[plain.Row]:
        method = plain.plain_cal(Run.open(run).method())
        return plain.predict(paths, method, size=case.size, detector=detector)

    return plainly


def least(paths: Sequence[Path], run: Run, case: Case) -> tuple[float, str]:
    """Milliseconds an image that this machine needs at least, and what they are."""
    keep_memory()  # as ours does: a face detector is faster with it, too
    some = paths[:8]
    crop_pixels(some[0], case.faces, case.size)
    reading = [
        min(seconds(lambda path=path: crop_pixels(path, case.faces, case.size)) for _ in range(3))
        for path in some
    ]
    method = run.method()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        method(torch.zeros(1, 3, case.size, case.size))
    flop, rate = counter.get_total_flops(), conv_rate()
    cores = len(os.sched_getaffinity(0))
    found = 1e3 * (float(np.mean(reading)) / cores + flop / rate)
    faces = "" if case.faces == "none" else ", face"
    return found, (
        f"decode{faces} and resize on {cores} cores, {flop / 1e9:.2f} GFLOP at"
        f" {rate / 1e9:.0f} GFLOP/s"
    )


def network_alone(report: Report, run: Run, model: Path, rounds: int) -> None:
    """Crops that are in memory: the plain network, ours, the exported one, in turn."""
    what = f"network alone, {run.facts.backbone}, {run.facts.image_size} px"
    with elsewhere(network, run.folder) as ours:
        with elsewhere(plain_network, run.folder) as theirs:
            times = pairs(theirs, ours, rounds)
        with elsewhere(network, model) as exported:
            again = pairs(ours, exported, rounds)
    for title, pair in ((what, times), (f"{_EXPORTED}{what}", again)):
        baseline, own = ([1e3 * each / CROPS for each in one] for one in pair)
        report.add(Comparison(title, "ms an image", baseline, own))


def plain_network(run: Path) -> Callable[[], object]:
    """One call of the plain network, with every core, on images that are ready."""
    opened = Run.open(run)
    facts, method = opened.facts, plain.plain_cal(opened.method())
    images = PlainView(facts.image_size, facts.mean, facts.std)(random_crops(facts.store_size))

    def plainly() -> object:
        with torch.no_grad():
            return method(images)

    return plainly


def network(place: Path) -> Callable[[], object]:
    """Calls of a run's network, or of an exported one, each core its own."""
    predictor = open_bundle(place) if place.is_file() else predictor_of(Run.open(place))
    crops = random_crops(predictor.store_size)
    halves = [crops[first : first + 8] for first in range(0, CROPS, 8)]
    staying = ExitStack()  # the network is closed with the process
    found = staying.enter_context(predictor.network())

    def answers() -> object:
        return staying, list(threaded_map(found.answer, halves, len(os.sched_getaffinity(0))))

    return answers


def random_crops(side: int) -> np.ndarray:
    """``CROPS`` of noise."""
    return np.random.default_rng(0).integers(0, 256, (CROPS, side, side, 3), dtype=np.uint8)


def start_to_end(
    run: Path, model: Path, files: Path, rounds: int
) -> tuple[list[float], list[float]]:
    """The command from start to end on a folder: what is imported counts."""

    def command(place: Path) -> None:
        owdfa = [sys.executable, "-m", "owdfa", "predict", place, files, "-o", f"{model}.parquet"]
        subprocess.run(owdfa, check=True, capture_output=True)

    return pairs(lambda: command(run), lambda: command(model), rounds)


if __name__ == "__main__":
    main()
