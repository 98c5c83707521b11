"""Peak memory of stages against the number of images, each in a process of its own.

    python -m benchmarks.memory [--images 10000 1000000]

Manifests, splits and stores of empty crops are drawn. One epoch of training on them
takes 256 images; a fifth of the images are test images, which are predicted or scored.
"""

import argparse
import resource
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.harness import Report

_CLASSES, _SIDE, _CROP = 100, 32, 8
_NETWORK = ("backbone.name=tiny/trace8w16", f"data.views.size={_SIDE}", "data.batch_size=64")


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 1_000_000])
    options = parser.parse_args(argv)
    report = report or Report("memory")
    found: dict[str, list[float]] = {}
    for count in options.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            peak(draw, folder, count)
            for what, stage in STAGES.items():
                found.setdefault(what, []).append(peak(stage, folder))
    for what, mib in found.items():
        sizes = (f"{n:,} images: {m:.0f} MiB" for n, m in zip(options.images, mib, strict=True))
        report.add(what, "; ".join(sizes))


def peak(function: Callable[..., None], *args: object) -> float:
    """MiB that a fresh process held at most while it called ``function(*args)``.

    Processes that it starts are not counted.
    """
    # A forked process would begin with the memory of this one.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_called, function, args).result()


def _called(function: Callable[..., None], args: tuple[object, ...]) -> float:
    function(*args)
    try:  # ``ru_maxrss`` would begin with what the parent held when it started this process
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# What follows runs in processes of its own, which should import no more than they need.


def draw(folder: Path, num_images: int) -> None:
    from benchmarks.drawn import draw_data

    half = _CLASSES // 2
    sizes = {"num_images": num_images, "num_classes": _CLASSES, "num_known": half, "side": _CROP}
    draw_data(folder, **sizes, noise=False)


def split(folder: Path) -> None:
    from owdfa.stages.split import SplitOptions
    from owdfa.stages.split import split as stage

    stage(folder / "images.parquet", folder / "again", options=SplitOptions(known=("*[02468]",)))


def train(folder: Path) -> None:
    from owdfa.runs.settings import load_settings
    from owdfa.stages.train import train as stage

    own = [*_NETWORK, "backbone.weights=none", "device=cpu", "epochs=1"]
    own += ["data.images_per_epoch=256", "data.views.crop_size=32"]
    stage(folder / "split", folder / "run", settings=load_settings("cal", None, own))


def predict(folder: Path) -> None:
    from owdfa.stages.predict import predict as stage

    stage(folder / "run", "split:test", folder / "predicted.parquet")


def score(folder: Path) -> None:
    from owdfa.stages.score import score as stage

    stage(folder / "predicted.parquet", folder / "split", folder / "scores.json")


STAGES = {
    "split": split,
    "train, 256 images of them": train,
    "predict a fifth of them": predict,
    "score a fifth of them": score,
}

if __name__ == "__main__":
    main()
