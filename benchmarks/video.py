"""Verdicts of a video on a CPU: ``owdfa attribute`` with dlib on every fifth frame, start to end.

    python -m benchmarks.video [--rounds 3] [--quick]

The clip shows a drawn face that moves over noise. The network has random weights, and the
calibration is made up: what they say does not matter, how long it takes does.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.delivery import photographs
from benchmarks.harness import Report, number, seconds
from benchmarks.predict import command, random_run
from owdfa.records.calibration import Calibration, Threshold
from owdfa.runs.run import Run

_RATE = 25  # frames a second: of every 0.2 seconds one is looked at


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(argv)
    report, rounds, size, length = report or Report("video"), options.rounds, (1280, 720), 10
    cases = [("tiny/trace8w16", 64), ("torchvision/resnet50", 256)]
    if options.quick:
        rounds, size, length, cases = 1, (320, 240), 1, cases[:1]
    with tempfile.TemporaryDirectory() as name:
        clip = write_clip(Path(name), size, length)
        for backbone, side in cases:
            run = calibrated_run(Path(name, backbone.replace("/", "-")), backbone, side)
            times = []
            for i in range(rounds):
                case = Path(name, f"{run.name}-{i}")
                work = partial(command, "owdfa", "attribute", run, clip, "-o", case)
                times.append(seconds(work))
            median = statistics.median(times)
            what = f"{length} s of {size[0]} x {size[1]} px, {backbone}, {side} px"
            report.add(what, f"{number(median)} s (n={rounds})", "less than 15 s", median < 15)


def write_clip(folder: Path, size: tuple[int, int], length: int) -> Path:
    """Write an H.264 file of some seconds."""
    (photograph,) = photographs(folder / "files", size[1] // 2, 1)
    face = np.asarray(Image.open(photograph).convert("RGB"))
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    behind = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(length * _RATE):
            pixels = behind.copy()
            left = i * (size[0] - len(face)) // (length * _RATE)
            pixels[: len(face), left : left + len(face)] = face
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, _RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def calibrated_run(folder: Path, backbone: str, size: int) -> Path:
    """Write a run with random weights and a calibration that lets everything pass.

    So every track is looked at after changes, too.
    """
    random_run(folder, backbone, size, faces="dlib")
    metadata = Run.open(folder).metadata
    anything = Threshold(
        statement="class", threshold=0.0, budget=0.01, bound=1.0, confidence=0.95,
        num_groups=0, num_wronged=0, recall=None,
    )  # fmt: skip
    Calibration(
        known=metadata.known, real=(), families={}, temperature=1.0, thresholds=(anything,),
        coverage=0.9, set_threshold=1.0, num_images=0, num_groups=0, ece_before=0.0, ece=0.0,
        reliability=(), provenance=metadata.provenance,
    ).write(folder)  # fmt: skip
    return folder


if __name__ == "__main__":
    main()
