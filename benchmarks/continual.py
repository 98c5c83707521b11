"""Three rounds of training on ``lab``, types named in time order: what becomes of the old ones.

    OMP_NUM_THREADS=1 python -m benchmarks.continual [--method cal] [--seeds 0 1 2] [--folder DIR]

Round 1 knows real images and the first type of each family, round 2 three more, round 3 all 13. The
types of the next round are among the unlabelled images. Test images are the same in all rounds, of
other persons than any training image. Five ways to train rounds 2 and 3:

anew        with all labels of the round, by the ``tiny`` recipe with fewer steps (``--epochs``)
continued   train --from the round before, all labels, as many epochs (stages are not repeated)
halved      the same with half the epochs
statistics  train --from the round before, labels of the new types alone, half the epochs: old types
            are kept by what the run keeps of them
naive       the same without that: fine-tuning on the new types

With ``--folder`` runs that are there are not trained again, so that several processes can train
some seeds each, and one more can write the table.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.harness import Report
from owdfa.config import merge
from owdfa.datasets import lab
from owdfa.datasets.lab.settings import LabSettings
from owdfa.records.predictions import Predictions
from owdfa.records.split import Split
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.stages.predict import predict
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import train

ROUNDS = (
    ("real", "edit-1", "generate-1", "reenact-1", "swap-1"),
    ("edit-2", "generate-2", "swap-2"),
    ("reenact-2", "edit-3", "generate-3", "reenact-3", "swap-3"),
)
POINTS = 3  # that an old type may lose against training anew


class Way(NamedTuple):
    """How rounds after the first are trained."""

    continues: bool
    old_labels: bool
    share: float = 1.0  # of the epochs
    overrides: tuple[str, ...] = ()


WAYS = {
    "anew": Way(continues=False, old_labels=True),
    "continued": Way(continues=True, old_labels=True),
    "halved": Way(continues=True, old_labels=True, share=0.5),
    "statistics": Way(continues=True, old_labels=False, share=0.5),
    "naive": Way(
        continues=True, old_labels=False, share=0.5, overrides=("continual.replay_weight=0",)
    ),
}
Accuracy = dict[str, float]  # of each known type, over its test images
Rounds = list[tuple[Accuracy, float]]  # that, and the seconds of training, after each round


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default="cal")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--images", type=int, default=500, help="of each type")
    parser.add_argument("--draw", type=int, default=0, help="seed of the images")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--per-epoch", type=int, default=1920, help="images of an epoch")
    parser.add_argument("--set", nargs="+", default=[], help="settings of all trainings")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    options = parser.parse_args(argv)
    report = report or Report(f"continual-{options.method}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_splits(folder, options.images, options.draw)
        found: dict[str, list[Rounds]] = {way: [] for way in options.ways}
        for seed in options.seeds:
            explicit = {"method": {"name": options.method}, "seed": seed}
            settings = load_settings("tiny", None, [*options.set, "onnx=false"], explicit)
            settings = within(settings, options.epochs, options.per_epoch)
            for way in options.ways:
                found[way].append(train_rounds(folder, way, settings))
    for round_ in (1, 2):
        tell(report, round_, found)


def make_splits(folder: Path, num_images: int, seed: int) -> None:
    """Draw the images, and write a split for each round, with and without labels of old types."""
    if (folder / "split-2-new").exists():
        return
    manifest = folder / "images.parquet"
    settings = LabSettings(images_per_method=num_images, real_images=num_images, size=64, seed=seed)
    lab.draw(folder / "images", settings)
    scan(f"lab:{folder / 'images'}", manifest)
    prepare(manifest, folder / "store", faces="none", size=64)
    whole = split(manifest, folder / "split", options=SplitOptions(test=0.4))
    for number in range(len(ROUNDS)):
        old = {name for names in ROUNDS[:number] for name in names}
        known = old | set(ROUNDS[number])
        unlabelled = known.union(*ROUNDS[number + 1 : number + 2])
        for suffix, labelled in (("all", known), ("new", known - old)):
            pairs = zip(
                whole.table["role"].to_pylist(), whole.table["class"].to_pylist(), strict=True
            )
            roles = [role_of(*pair, labelled, known, unlabelled) for pair in pairs]
            table = whole.table.set_column(1, "role", pa.array(roles, pa.string()))
            novel = tuple(sorted(unlabelled - known))
            made = replace(whole, table=table, known=tuple(sorted(known)), novel=novel)
            made.write(folder / f"split-{number}-{suffix}")


def role_of(role: str, name: str, labelled: set[str], known: set[str], unlabelled: set[str]) -> str:
    if role == "test":
        return "test" if name in known else "unused"
    if role == "labelled" and name in known:
        return "labelled" if name in labelled else "unused"
    return "unlabelled" if name in unlabelled else "unused"


def within(settings: RunSettings, epochs: int, per_epoch: int) -> RunSettings:
    """Fewer steps, the last epoch at the recipe's last rate; stages before have half as many."""
    stages = []
    for stage in settings.stages:
        half = max(1, epochs // 2)
        own = {"epochs": half, "data": {"images_per_epoch": per_epoch}, "schedule": last(half)}
        stages.append(stage.model_copy(update={"settings": merge(stage.settings, own)}))
    data = settings.data.model_copy(update={"images_per_epoch": per_epoch})
    schedule = settings.schedule.model_copy(update=last(epochs))
    update = {"epochs": epochs, "data": data, "schedule": schedule, "stages": tuple(stages)}
    return settings.model_copy(update=update)


def last(epochs: int) -> dict[str, int]:
    return {"every": max(1, epochs - 1)}


def train_rounds(folder: Path, way: str, first: RunSettings) -> Rounds:
    """Accuracy of every known type after each round, and the seconds that its training took."""
    chosen, found, name = WAYS[way], [], f"{first.method.name}-{first.seed}"
    before = folder / "runs" / f"{name}-first-0"
    for number in range(len(ROUNDS)):
        run = before if number == 0 else folder / "runs" / f"{name}-{way}-{number}"
        labels, settings = "all" if number == 0 or chosen.old_labels else "new", first
        if number > 0 and chosen.continues:
            epochs = max(1, round(chosen.share * first.epochs))
            overrides = [f"epochs={epochs}", f"schedule.every={last(epochs)['every']}"]
            settings = load_settings(None, None, [*overrides, *chosen.overrides], earlier=before)
        split_ = folder / f"split-{number}-{labels}"
        found.append(measured(run, split_, folder / f"split-{number}-all", settings))
        print(f"{run.name}: {np.mean(list(found[-1][0].values())):.3f}", flush=True)
        before = run
    return found


def measured(run: Path, labels: Path, truth: Path, settings: RunSettings) -> tuple[Accuracy, float]:
    """Train a run unless it is there, and predict the test images."""
    kept = run / "measured.json"
    if not kept.exists():
        start = time.process_time()
        train(labels, run, settings=settings, resume=True)
        seconds = time.process_time() - start
        predict(run, "split:test", run / "test.parquet", split=labels)
        kept.write_text(json.dumps([accuracy(run / "test.parquet", truth), seconds]))
    found, seconds = json.loads(kept.read_text())
    return found, seconds


def accuracy(predictions: Path, split_: Path) -> Accuracy:
    """Share of each type's test images that are given to it."""
    made, rows = (
        Predictions.read(predictions, ("id", "index")),
        Split.read(split_).with_role("test"),
    )
    names = dict(zip(rows["id"].to_pylist(), rows["class"].to_pylist(), strict=True))
    truth = np.array([names[id_] for id_ in made.table["id"].to_pylist()])
    said = np.array(made.metadata.classes)[np.asarray(made.table["index"])]
    return {name: float((said[truth == name] == name).mean()) for name in np.unique(truth).tolist()}


def tell(report: Report, round_: int, found: Mapping[str, list[Rounds]]) -> None:
    """Write the rows of a round: old and new types, and each old one against training anew."""
    old = [name for names in ROUNDS[:round_] for name in names]
    for way, seeds in found.items():
        results = [rounds[round_] for rounds in seeds]
        kept, new = (per_seed(results, names) for names in (old, ROUNDS[round_]))
        forgot = np.array([forgotten(rounds[: round_ + 1]) for rounds in seeds])
        seconds = np.mean([each for _, each in results])
        report.add(
            f"round {round_ + 1}, {way}: accuracy of {len(old)} old and {len(ROUNDS[round_])} new"
            " types; forgotten since a type was new; CPU time",
            f"{spread(kept)} and {spread(new)}; {spread(forgot)}; {seconds:.0f} s",
        )
        if way != "anew" and "anew" in found:
            losses = lost([rounds[round_] for rounds in found["anew"]], results, old)
            worst = max(losses, key=lambda name: losses[name])
            num = sum(loss > POINTS for loss in losses.values())
            report.add(
                f"round {round_ + 1}, {way}: old types more than {POINTS} points below anew",
                f"{num} of {len(old)}, the lowest {worst}, {-losses[worst]:+.1f} points",
                "0",
                num == 0,
            )


def forgotten(rounds: Rounds) -> float:
    """Points of accuracy that types lost since the round that named them, mean over old types."""
    now = rounds[-1][0]
    return float(
        np.mean(
            [
                100 * (rounds[first][0][name] - now[name])
                for first in range(len(rounds) - 1)
                for name in ROUNDS[first]
            ]
        )
    )


def per_seed(results: Sequence[tuple[Accuracy, float]], names: Sequence[str]) -> np.ndarray:
    return np.array([100 * np.mean([each[name] for name in names]) for each, _ in results])


def lost(
    anew: Sequence[tuple[Accuracy, float]],
    other: Sequence[tuple[Accuracy, float]],
    names: Sequence[str],
) -> dict[str, float]:
    """Points of accuracy by which each type is below training anew, mean over seeds."""
    pairs = list(zip(anew, other, strict=True))
    return {
        name: float(np.mean([100 * (a[name] - b[name]) for (a, _), (b, _) in pairs]))
        for name in names
    }


def spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f}" + (f" (s.d. {values.std(ddof=1):.1f})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
