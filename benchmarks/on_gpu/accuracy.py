"""Does bfloat16 cost accuracy? The recipe ``tiny`` on lab, in fp32 and in bf16, over some seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path

from owdfa.datasets.lab import LabSettings, draw
from owdfa.runs.computing import Precision
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan
from owdfa.stages.score import score
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import train

SIZE = 64  # of lab's images, in pixels


def make_split(folder: Path, per_class: int) -> Path:
    """Draw, scan, prepare and split; folder of the split."""
    settings = LabSettings(
        images_per_method=per_class,
        real_images=2 * per_class,
        size=SIZE,
        frames_per_identity=min(10, per_class // 4),
    )
    jobs = 0 if per_class > 10 else 1  # 0: every core
    draw(folder / "lab", settings, jobs=jobs)
    manifest = folder / "lab.parquet"
    scan(f"lab:{folder / 'lab'}", manifest)
    prepare(manifest, folder / "lab-store", faces="none", size=SIZE, jobs=jobs)
    split(manifest, folder / "split", options=SplitOptions(protocol="lab/p1"))
    return folder / "split"


def accuracy(
    divided: Path, output: Path, precision: Precision, seed: int, overrides: Sequence[str]
) -> float:
    """Train, predict and score once: All ACC by the single match, in percent."""
    fixed = ["device=auto", "deterministic=false", "data.views_on=device"]
    fixed += [f"precision={precision}", f"seed={seed}"]
    settings = load_settings("tiny", None, [*overrides, *fixed])
    train(divided, output, settings=settings)
    predict(output, "split:test", output / "predictions.parquet")
    scores = score(output / "predictions.parquet", divided)
    return 100 * scores.conventions["gcd-v2"]["all"]["acc"]


def compare(
    folder: Path,
    *,
    per_class: int,
    seeds: int,
    overrides: Sequence[str],
    time_left: Callable[[], float],
) -> dict[Precision, list[float]]:
    """Both precisions for each seed in turn, while there is time for another pair."""
    divided = make_split(folder, per_class)
    found: dict[Precision, list[float]] = {"32-true": [], "bf16-mixed": []}
    for seed in range(seeds):
        before = time_left()
        for precision, values in found.items():
            run = folder / f"{precision}-{seed}"
            values.append(accuracy(divided, run, precision, seed, overrides))
        if time_left() < before - time_left():
            break
    return found
