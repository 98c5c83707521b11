"""Time of scoring a million predictions of a thousand classes, files read included.

    python benchmarks/score.py [--images 1000000] [--classes 1000]

Elapsed time, and in brackets processor time, which other work on the machine disturbs less.
Set beside it: the accuracy matching, NMI and ARI tables filled by a plain Python loop over
samples, as the releases do, on a share of the images; its time is extrapolated in proportion.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from owdfa.records.predictions import SCHEMA as PREDICTIONS
from owdfa.records.predictions import PredictionBasis, Predictions
from owdfa.records.split import SCHEMA as ROLES
from owdfa.records.split import Basis, Split
from owdfa.stages.score import score

EMBEDDING = 64


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1_000_000)
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--share", type=float, default=0.05, help="for the loop")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        true, predicted = write_files(Path(folder), chosen.images, chosen.classes)
        files = Path(folder, "predictions.parquet"), Path(folder, "split")
        took = min(timed(lambda: score(*files)) for _ in range(5))
        written = timed(lambda: score(*files, Path(folder, "scores.json")))
    part = int(chosen.images * chosen.share)
    loop, _ = timed(lambda: count_by_loop(true[:part], predicted[:part], chosen.classes))
    print("| images | classes | score, s (best of 5) | with -o, s | loop over samples, s |")
    print("|---|---|---|---|---|")
    print(
        f"| {chosen.images} | {chosen.classes} | {took[0]:.2f} ({took[1]:.2f}) | "
        f"{written[0]:.2f} ({written[1]:.2f}) | "
        f"{loop:.2f} on {part} images, so about {loop / chosen.share:.1f} |"
    )


def write_files(folder: Path, num_images: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Write predictions, 80 % of them right, and their split; embeddings are there, as in life."""
    generator = np.random.default_rng(0)
    names = [f"class-{i:04d}" for i in range(num_classes)]
    true = generator.integers(0, num_classes, num_images)
    right = generator.random(num_images) < 0.8
    predicted = np.where(right, true, generator.integers(0, num_classes, num_images))
    ids = pa.array([f"folder-{i // 1000:05d}/image-{i:08d}.jpg" for i in range(num_images)])
    classes = pa.array(names).take(pa.array(true))
    table = pa.table([ids, pa.repeat("test", num_images), classes, ids], schema=ROLES)
    known = num_classes // 2
    basis = Basis("images.parquet", "", None, "group", 0, 0.75, 0.2, 0.0)
    made = Split(table, tuple(names[:known]), tuple(names[known:]), basis)
    made.write(folder / "split")
    columns = {
        "id": ids,
        "prediction": pa.array(names).take(pa.array(predicted)),
        "index": pa.array(predicted, pa.int32()),
        "confidence": pa.array(generator.random(num_images), pa.float32()),
        "novel": pa.array(predicted >= known),
        "top_index": lists(generator.integers(0, num_classes, (num_images, 5)).astype(np.int32)),
        "top_probability": lists(generator.random((num_images, 5), dtype=np.float32)),
        "embedding": lists(generator.random((num_images, EMBEDDING), dtype=np.float32)),
    }
    note = PredictionBasis(
        "run", "split:test", "cal", names, known, made.digest(), "last", "", 0, ""
    )
    Predictions(pa.table(columns, schema=PREDICTIONS), note).write(folder / "predictions.parquet")
    return true, predicted


def lists(rows: np.ndarray) -> pa.Array:
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


def count_by_loop(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> None:
    """The three tables (everything, known, novel), an image at a time."""
    tables = np.zeros((3, num_classes, num_classes), dtype=np.int64)
    for i in range(len(true)):
        tables[0, predicted[i], true[i]] += 1
        tables[1 if true[i] < num_classes // 2 else 2, predicted[i], true[i]] += 1


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Elapsed and processor seconds."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    main()
