"""What verdicts are worth and cost, on a run whose split has a validation part.

    python -m benchmarks.verdicts RUN [--photos FOLDER] [--splits 50]

Held-out and test images of known classes are cut in two by group, again and again: one half
calibrates, the other is measured. A group counts as wronged when one of its images is. What is
timed, where photos are named: one image from the start of the process, and a folder, in pairs with
``owdfa predict``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import Report, number, pairs
from owdfa.attribution.calibrate import probabilities_of
from owdfa.calibration.fit import CalibrateOptions, HeldOut, Names, calibrate
from owdfa.calibration.statements import Decision, scaled
from owdfa.inference.inputs import find_images
from owdfa.inference.predictor import Predictor
from owdfa.metrics.calibration import calibration as reliability
from owdfa.records.calibration import Calibration
from owdfa.records.rows import codes
from owdfa.records.split import Split
from owdfa.runs.data import find_split

_BUDGETS = (0.01, 0.05, 0.1)


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--photos", type=Path, help="a folder of images, to time with")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    report = report or Report("verdicts")
    images, made = held_out(options.run), Calibration.read(options.run)
    assert made is not None, "calibrate the run first"
    for budget in _BUDGETS:
        measure(report, images, made, budget, options.splits)
    if options.photos is not None:
        cost(report, options.run, options.photos, options.rounds)


def held_out(run: Path) -> HeldOut:
    """Images of known classes that the run did not learn from, of both parts of its split."""
    predictor = Predictor.open(run)
    assert predictor.run is not None
    folder = find_split(run, predictor.run, None)
    split = Split.read(folder)
    rows = pa.concat_tables([split.with_role(role) for role in ("validation", "test")])
    found = [
        probabilities_of(predictor, find_images(predictor, f"split:{role}", folder))
        for role in ("validation", "test")
    ]
    labels = np.asarray(pc.fill_null(pc.index_in(rows["class"], pa.array(split.known)), -1))
    known = labels >= 0
    groups = codes(pc.coalesce(rows["group"], rows["id"]))
    return HeldOut(np.concatenate(found)[known], labels[known].astype(np.int64), groups[known])


def measure(
    report: Report, images: HeldOut, made: Calibration, budget: float, num_splits: int
) -> None:
    """Cut the groups in two ``num_splits`` times, and measure what was promised."""
    classes = (*made.known, *map("novel {}".format, range(images.probabilities.shape[1])))
    classes = classes[: images.probabilities.shape[1]]
    names = Names(classes, len(made.known), made.real, made.families)
    is_real = np.isin(images.labels, [made.known.index(name) for name in made.real])
    kept, bounds, recalls, errors = [], [], [], []
    for seed in range(num_splits):
        first = np.random.default_rng(seed).random(images.groups.max() + 1) < 0.5
        inside = first[images.groups]
        found = calibrate(
            _rows(images, inside), names, CalibrateOptions(budget=budget), made.provenance
        )
        decision, rest = Decision(found, classes), _rows(images, ~inside)
        scores, real = decision.scores(rest.probabilities), is_real[~inside]
        said = np.array([_accuses(decision, row) for row in scores])
        wronged = np.bincount(rest.groups[real], said[real]) > 0
        limit = found.find("forged" if made.real else "class")
        assert limit is not None
        kept.append(wronged.sum() / len(np.unique(rest.groups[real])) <= limit.bound)
        bounds.append(limit.bound)
        recalls.append(said[~real].mean())
        errors.append(_ece(rest, decision, np.random.default_rng(seed)))
    share, (error, by_chance) = float(np.mean(kept)), np.mean(errors, axis=0).tolist()
    said_to_be = f"{share:.0%} of {num_splits} splits; stated: {np.median(bounds):.1%}"
    what = f"budget {budget:.0%}"
    report.add(
        f"{what}: real groups accused within the share stated", said_to_be, "in 90%", share >= 0.9
    )
    report.add(f"{what}: forged images accused", f"{np.median(recalls):.1%}")
    text = f"{number(error)}; {number(by_chance)} where perfectly calibrated, by chance"
    report.add(f"{what}: ECE on groups not used", text, "at most 0.03", error <= 0.03)


def _rows(images: HeldOut, chosen: np.ndarray) -> HeldOut:
    return HeldOut(images.probabilities[chosen], images.labels[chosen], images.groups[chosen])


def _accuses(decision: Decision, scores: np.ndarray) -> bool:
    return any(decision.statements[each].kind != "real" for each in decision.passing(scores))


def _ece(images: HeldOut, decision: Decision, rng: np.random.Generator) -> tuple[float, float]:
    """The error, and that of as many images that are right as often as they are sure."""
    found = scaled(images.probabilities, decision.temperature)
    sure = np.minimum(found.max(axis=1), 1)
    right = found.argmax(axis=1) == images.labels
    perfect = rng.random(len(sure)) < sure
    return reliability(sure, right).ece, reliability(sure, perfect).ece


def cost(report: Report, run: Path, photos: Path, rounds: int) -> None:
    """Time one image from the start of a process, and a folder beside ``owdfa predict``."""
    one = next(path for path in sorted(photos.rglob("*")) if path.is_file())
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:

        def run_command(name: str, what: Path, suffix: str) -> None:
            output = Path(folder) / f"{next(numbers)}{suffix}"
            command = [sys.executable, "-m", "owdfa", name, run, what, "-o", output]
            subprocess.run(list(map(str, command)), check=True, capture_output=True)

        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            run_command("attribute", one, "")
            times.append(time.perf_counter() - start)
        report.add(
            "one image, from the start of the process", f"{number(np.median(times))} s", "1.5 s"
        )
        both = pairs(
            lambda: run_command("predict", photos, ".parquet"),
            lambda: run_command("attribute", photos, ""),
            rounds,
        )
    report.compare("a folder of photos, predict against attribute", "s", both, 0.9)


if __name__ == "__main__":
    main()
