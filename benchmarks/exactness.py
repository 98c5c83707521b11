"""A run that is killed and resumed is bit-identical; a GPU and a CPU predict alike."""

import json
import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.drawn import draw_data
from benchmarks.harness import Report
from owdfa.records.predictions import Predictions
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train

_IMAGES = 400


def exactness(folder: Path, report: Report, device: torch.device, changes: tuple[str, ...]) -> None:
    """Add both rows; ``changes`` are settings of a small run."""
    folder = folder / "exactness"
    folder.mkdir()
    data = draw_data(folder, num_images=_IMAGES, num_classes=8, num_known=4, side=72, noise=True)
    precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    own = [
        *changes, "backbone.weights=none", "epochs=3", "log_every=1", "data.workers=2",
        f"device={device.type}", f"precision={precision}",
    ]  # fmt: skip
    kill = int(1.2 * _IMAGES) // load_settings("cal", None, own).data.batch_size  # in epoch 2
    context = get_context("spawn")  # cuBLAS is told to be deterministic before it starts
    ends = []
    for name, step in (("whole", -1), ("killed", kill), ("killed", -1)):
        child = context.Process(target=_train, args=(data.split, folder / name, own, step))
        child.start()
        child.join()
        ends.append(child.exitcode)
    whole, killed = (_trained(folder / name) for name in ("whole", "killed"))
    good = ends == [0, -signal.SIGKILL, 0] and whole == killed
    what = f"killed and resumed on {device.type}, deterministic: weights and log are bit-identical"
    report.add(what, "yes" if good else f"no, exit codes {ends}", "yes", good)
    cpu, other = (_predicted(folder, name) for name in ("cpu", device.type))
    scale = (np.abs(cpu[0]).max(), 1)
    worst = max(float(np.abs(a - b).max() / s) for a, b, s in zip(cpu, other, scale, strict=True))
    what = f"prediction on cpu and {device.type}: largest difference of confidence and embedding"
    report.add(what, f"{worst:.1e}", "at most 1e-3 of the largest number", worst <= 1e-3)


def _train(split: Path, output: Path, changes: list[str], kill: int) -> None:
    steps = iter(range(10**6))

    def watch(_done: int, _total: int, _note: str = "", /) -> None:
        if next(steps) == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings("cal", None, changes)
    train(split, output, settings=settings, resume=True, on_progress=watch)


def _trained(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    """Weights, and every line of the log without its speed."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return (run / "checkpoints" / "last" / "weights.safetensors").read_bytes(), lines


def _predicted(folder: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and confidences of the test images, by the command line."""
    output = folder / f"{device}.parquet"
    options = ["split:test", "-o", output, "--device", device, "--precision", "32-true"]
    command = [sys.executable, "-m", "owdfa", "predict", folder / "whole", *options]
    subprocess.run(command, check=True, capture_output=True)
    table = Predictions.read(output).table
    embedding, confidence = (table[name].to_pylist() for name in ("embedding", "confidence"))
    return np.array(embedding), np.array(confidence)
