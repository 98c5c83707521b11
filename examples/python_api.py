"""All stages in Python, on synthetic images: ``python examples/python_api.py [DIR]``.

Each call reads files and writes one, so that it can be made again alone. With images of your own,
start with ``owdfa.scan("folder:photos", ...)``. It trains for seconds, which is too short to tell
types apart: leave ``QUICK`` out to train for real.
"""

import sys
from pathlib import Path

import owdfa
from owdfa.datasets import lab
from owdfa.runs.settings import load_settings
from owdfa.stages.split import SplitOptions

QUICK = ["epochs=2", "stages=[]", "data.images_per_epoch=64", "data.batch_size=32"]


def main(folder: Path) -> None:
    """Make images, go from them to scores and a page, and print the scores."""
    drawing = lab.LabSettings(size=64, images_per_method=10, real_images=20, frames_per_identity=2)
    lab.draw(folder / "images", drawing)

    manifest, split, run = folder / "images.parquet", folder / "split", folder / "run"
    owdfa.scan(f"lab:{folder / 'images'}", manifest)
    owdfa.prepare(manifest, folder / "store", faces="none", size=64)
    owdfa.split(manifest, split, options=SplitOptions(protocol="lab/p1", seed=2025))
    owdfa.train(split, run, settings=load_settings("tiny", overrides=QUICK))
    owdfa.predict(run, "split:test", folder / "predictions.parquet")
    scores = owdfa.score(folder / "predictions.parquet", split)
    page = owdfa.report(run, folder / "report.html")

    for part, found in scores.conventions["gcd-v2"].items():
        print(f"{part:6} ACC {found['acc']:.3f}  NMI {found['nmi']:.3f}  ARI {found['ari']:.3f}")
    print(f"report: {page}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/python"))
