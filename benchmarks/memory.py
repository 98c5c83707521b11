"""Peak memory of the stages against the number of images and of classes.

    python -m benchmarks.memory [--files 10000 100000 1000000] [--rows 10000 100000 1000000]
                                [--epoch 250 1000 4000] [--classes 10 100 1000]

Each measurement is a process of its own, imports included. ``--files`` are images on disk: many
names of a few small ones for scan and prepare, every other one gone in the rows with bad files.
``--rows`` are rows of drawn manifests, splits, predictions and stores of empty crops; one epoch
of training on them takes 256 images. ``--epoch`` are images in an epoch, of 1,000 in the store.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, Comparison, Report
from benchmarks.peak import cost, slope

CLASSES = 100
SIDE = 32
CROP = 8
NETWORK = ["backbone.name=tiny/trace8w16", f"data.views.size={SIDE}", "data.batch_size=64"]


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> None:
    options = parsed(arguments)
    report = Report("memory", __doc__)
    table = Measured()
    for count in options.files:
        with tempfile.TemporaryDirectory() as name:
            measure_files(Path(name), count, table)
    for count in options.rows:
        with tempfile.TemporaryDirectory() as name:
            measure_rows(Path(name), count, table, report)
    measure_epochs(options.epoch, table)
    measure_classes(options.classes, table)
    for title, head, rows in table.tables():
        report.table(title, head, rows)
    report.note(
        "Processes that prepare starts are not counted: each holds its imports and the few images "
        "it works on. A slope is between the two largest sizes; where it is small beside what the "
        "imports take, it is mostly the noise of the allocator."
    )
    report.write(results)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    thousand = 1000
    for name, sizes in (
        ("files", [10 * thousand, 100 * thousand, thousand * thousand]),
        ("rows", [10 * thousand, 100 * thousand, thousand * thousand]),
        ("epoch", [250, 1000, 4000]),
        ("classes", [10, 100, 1000]),
    ):
        parser.add_argument(f"--{name}", type=int, nargs="+", default=sizes)
    return parser.parse_args(arguments)


class Measured:
    """Peak memory by stage and size, for tables of equal sizes."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, dict[int, float]]] = {}

    def add(self, of: str, stage: str, size: int, mib: float) -> None:
        """Keep a measurement; ``of`` is what the size counts."""
        self.found.setdefault(of, {}).setdefault(stage, {})[size] = mib
        print(f"{stage}, {size:,} {of}: {mib:.0f} MiB", flush=True)

    def tables(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """Title, head and rows, a table for each kind of size."""
        made = []
        for of, stages in self.found.items():
            sizes = sorted(next(iter(stages.values())))
            head = ["MiB", *(f"{size:,}" for size in sizes), f"bytes for each of the {of}"]
            rows = [
                [stage, *(peaks[size] for size in sizes), slope(sizes, [peaks[s] for s in sizes])]
                for stage, peaks in stages.items()
            ]
            made.append((f"Peak memory against the number of {of}", head, rows))
        return made


def measure_files(folder: Path, count: int, table: Measured) -> None:
    """Scan and prepare of files on disk."""
    from benchmarks.growth import draw_files, scanned

    keep = partial(table.add, "files", size=count)
    draw_files(folder, count)
    keep(stage="scan", mib=cost(scanned, folder).mib)
    list_files(folder)
    keep(stage="scan, from a CSV file", mib=cost(scan_list, folder).mib)
    shutil.copy(folder / "images.parquet", folder / "copy.parquet")
    keep(stage="prepare", mib=cost(prepare_files, folder).mib)
    for path in sorted((folder / "images").rglob("*.png"))[::2]:
        path.unlink()
    keep(stage="prepare, half of the files bad", mib=cost(prepare_half, folder).mib)


def measure_rows(folder: Path, count: int, table: Measured, report: Report) -> None:
    """Split, train, predict and score of drawn rows."""
    from benchmarks.drawn import draw_manifest, draw_predictions, draw_store

    keep = partial(table.add, "images", size=count)
    draw_manifest(folder, count, CLASSES)
    draw_store(folder, CROP)
    keep(stage="split", mib=cost(split_rows, folder).mib)
    keep(stage="train, 256 images of them", mib=cost(train_rows, folder, 256).mib)
    keep(stage="predict a fifth of them", mib=cost(predict_rows, folder).mib)
    draw_predictions(folder)
    mine, theirs = cost(score_rows, folder).mib, cost(score_plainly, folder).mib
    keep(stage="score a fifth of them", mib=mine)
    what = f"peak memory of score, a split of {count:,} images"
    report.add(Comparison(what, "MiB", [theirs], [mine], at={"images": count}))


def measure_epochs(sizes: Sequence[int], table: Measured) -> None:
    """Training with more and more images in an epoch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_split(folder, 1000, CLASSES)
        for count in sizes:
            shutil.rmtree(folder / "run", ignore_errors=True)
            found = cost(train_rows, folder, count)
            table.add("images of an epoch", "train", count, found.mib)


def measure_classes(sizes: Sequence[int], table: Measured) -> None:
    """Score and training with more and more classes, each with 200 images."""
    from benchmarks.drawn import draw_predictions

    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            keep = partial(table.add, "classes", size=count)
            draw_split(folder, 200 * count, count)
            draw_predictions(folder)
            keep(stage="score, 40 images a class", mib=cost(score_rows, folder).mib)
            keep(stage="train, 256 images", mib=cost(train_rows, folder, 256).mib)


def draw_split(folder: Path, num_images: int, num_classes: int) -> None:
    """Draw manifest, store and split."""
    from benchmarks.drawn import draw_manifest, draw_store

    draw_manifest(folder, num_images, num_classes)
    draw_store(folder, CROP)
    split_rows(folder)


def list_files(folder: Path) -> None:
    """Write the scanned files as a CSV file."""
    from owdfa.records.manifest import Manifest

    rows = Manifest.read(folder / "images.parquet", ("path", "class")).table
    pairs = zip(rows["path"].to_pylist(), rows["class"].to_pylist(), strict=True)
    lines = (f"{path},{class_}\n" for path, class_ in pairs)
    (folder / "list.csv").write_text("path,class\n" + "".join(lines))


# What follows runs in processes of its own, which should import no more than they need.


def scan_list(folder: Path) -> None:
    from owdfa.stages.scan import scan

    scan(f"csv:{folder / 'list.csv'}", folder / "listed.parquet")


def prepare_files(folder: Path) -> None:
    from owdfa.stages.prepare import prepare

    prepare(folder / "images.parquet", folder / "store", size=CROP)


def prepare_half(folder: Path) -> None:
    from owdfa.stages.prepare import prepare

    prepare(folder / "copy.parquet", folder / "half", size=CROP, max_bad=0.9)


def split_rows(folder: Path) -> None:
    from owdfa.stages.split import SplitOptions, split

    split(folder / "images.parquet", folder / "split", options=SplitOptions(known=("*[02468]",)))


def train_rows(folder: Path, images_per_epoch: int) -> None:
    from owdfa.runs.settings import load_settings
    from owdfa.stages.train import train

    own = [*NETWORK, "device=cpu", "epochs=1", f"data.images_per_epoch={images_per_epoch}"]
    train(folder / "split", folder / "run", settings=load_settings(None, None, own))


def predict_rows(folder: Path) -> None:
    from owdfa.stages.predict import predict

    predict(folder / "run", "split:test", folder / "predicted.parquet")


def score_rows(folder: Path) -> None:
    from owdfa.stages.score import score

    score(folder / "predictions.parquet", folder / "split", folder / "scores.json")


def score_plainly(folder: Path) -> None:
    from benchmarks.baseline.metrics import score_files

    score_files(folder / "predictions.parquet", folder / "split", folder / "plain.json")


if __name__ == "__main__":
    main()
