"""Scores of a million predictions of a thousand classes.

    python -m benchmarks.score [--images 10000 100000 1000000] [--classes 10 100 1000] [--rounds 3]

From arrays: truth, predicted index and confidence in memory, to both conventions, calibration,
numbers by class and the confusion table. The plain way computes less: one convention, no
calibration, no confusion. From files: predictions (with an embedding each) and split on disk, to
``scores.json``. 80 % of the predictions are right; in the rows with classes merged, three novel
classes share an index, so that a Hungarian match is needed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.baseline import metrics as plain
from benchmarks.harness import RESULTS, Comparison, Report, pairs
from benchmarks.machine import copy_bandwidth
from owdfa.records.predictions import SCHEMA as PREDICTIONS
from owdfa.records.predictions import PredictionBasis, Predictions
from owdfa.records.split import SCHEMA as ROLES
from owdfa.records.split import Basis, Split
from owdfa.stages.score import Joined, score, scores_of

EMBEDDING = 64


class Drawn(NamedTuple):
    """Predictions and their truth."""

    true: np.ndarray  # (images,) int64
    predicted: np.ndarray  # (images,) int64
    confidence: np.ndarray  # (images,) float32
    num_classes: int

    @property
    def num_known(self) -> int:
        """The first half of the classes."""
        return self.num_classes // 2


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    report = Report("score", __doc__)
    bandwidth = copy_bandwidth()
    largest = draw(max(options.images), max(options.classes))
    for num_images in options.images[:-1]:
        drawn = draw(num_images, largest.num_classes)
        add_arrays(report, drawn, options.rounds, bandwidth, at=("images",))
    for num_classes in options.classes[:-1]:
        drawn = draw(len(largest.true), num_classes)
        add_arrays(report, drawn, options.rounds, bandwidth, at=("classes",))
    add_arrays(report, largest, options.rounds, bandwidth, at=("images", "classes"))
    add_arrays(report, merged(largest), options.rounds, bandwidth, ", novel classes merged")
    add_files(report, largest, options.rounds)
    report.note(
        "The limit of the first rows is one reading of the arrays and one writing and reading of "
        "the table at the speed of a copy. What is between: a table is filled by increments at "
        "random places, which wait for one another; the logarithms of NMI; the confusion table "
        "as a list of Python numbers; where classes are merged, the Hungarian algorithm."
    )
    report.write(results)


def add_arrays(
    report: Report,
    drawn: Drawn,
    rounds: int,
    bandwidth: float,
    special: str = "",
    at: Sequence[str] = (),
) -> None:
    """Compare the two ways in memory; ``at`` names the sizes that it is plotted against."""
    ours = partial(scores_of, *ready(drawn))
    old, new = pairs(lambda: plain.scores(*drawn[:2], drawn.num_known), ours, rounds)
    moved = sum(array.nbytes for array in drawn[:3]) + 2 * 8 * drawn.num_classes**2
    what = f"scores of {len(drawn.true):,} predictions, {drawn.num_classes:,} classes{special}"
    sizes = {"images": len(drawn.true), "classes": drawn.num_classes}
    large = len(drawn.true) >= 1_000_000 and drawn.num_classes >= 1000 and not special
    plotted = {name: sizes[name] for name in at}
    row = Comparison(what, "ms", milliseconds(old), milliseconds(new), at=plotted)
    limit, why = 1e3 * moved / bandwidth, f"{moved / 1e6:.0f} MB at {bandwidth / 1e9:.1f} GB/s"
    report.add(replace(row, goal=50 if large else None, limit=limit, limit_is=why))


def add_files(report: Report, drawn: Drawn, rounds: int) -> None:
    """Compare the two ways from files to a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, drawn)
        files = folder / "predictions.parquet", folder / "split"
        old, new = pairs(
            lambda: plain.score_files(*files, folder / "plain.json"),
            lambda: score(*files, folder / "scores.json"),
            rounds,
        )
    what = f"the same from files to scores.json, {len(drawn.true):,} predictions"
    report.add(Comparison(what, "ms, files", milliseconds(old), milliseconds(new)))


def milliseconds(seconds: list[float]) -> list[float]:
    return [1e3 * each for each in seconds]


def draw(num_images: int, num_classes: int) -> Drawn:
    """Draw predictions, 80 % of them right."""
    generator = np.random.default_rng(0)
    true = generator.integers(0, num_classes, num_images)
    right = generator.random(num_images) < 0.8
    predicted = np.where(right, true, generator.integers(0, num_classes, num_images))
    return Drawn(true, predicted, generator.random(num_images, dtype=np.float32), num_classes)


def merged(drawn: Drawn) -> Drawn:
    """The same with three novel classes at a time under one index."""
    known, index = drawn.num_known, drawn.predicted
    return drawn._replace(predicted=np.where(index < known, index, known + (index - known) // 3))


def ready(drawn: Drawn) -> tuple[Joined, PredictionBasis, Split, str]:
    """What ``scores_of`` takes."""
    names = tuple(f"class-{i:04d}" for i in range(drawn.num_classes))
    known = drawn.num_known
    made = Split(ROLES.empty_table(), names[:known], names[known:], BASIS)
    note = PredictionBasis("run", "split:test", "cal", list(names), known, "", "last", "", 0, "")
    return Joined(*drawn[:3], without_truth=0, not_predicted=0), note, made, ""


BASIS = Basis("images.parquet", "", None, "group", 0, 0.75, 0.2, 0.0)


def write_files(folder: Path, drawn: Drawn) -> None:
    """Write predictions and their split; embeddings are there, as in life."""
    num_images, num_classes = len(drawn.true), drawn.num_classes
    _, note, empty, _ = ready(drawn)
    names = pa.array(note.classes)
    ids = pa.array([f"folder-{i // 1000:05d}/image-{i:08d}.jpg" for i in range(num_images)])
    classes = names.take(pa.array(drawn.true))
    table = pa.table([ids, pa.repeat("test", num_images), classes, ids, ids], schema=ROLES)
    made = replace(empty, table=table)
    made.write(folder / "split")
    generator = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "id": ids,
        "prediction": names.take(pa.array(drawn.predicted)),
        "index": pa.array(drawn.predicted, pa.int32()),
        "confidence": drawn.confidence,
        "novel": drawn.predicted >= drawn.num_known,
        "top_index": lists(generator.integers(0, num_classes, (num_images, 5)).astype(np.int32)),
        "top_probability": lists(generator.random((num_images, 5), dtype=np.float32)),
        "embedding": lists(generator.random((num_images, EMBEDDING), dtype=np.float32)),
    }
    note = note._replace(split_digest=made.digest())
    Predictions(pa.table(columns, schema=PREDICTIONS), note).write(folder / "predictions.parquet")


def lists(rows: np.ndarray) -> pa.Array:
    """A matrix as one list a row."""
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


if __name__ == "__main__":
    main()
