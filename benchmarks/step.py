"""One training step of CAL on the CPU, two views, losses, backward and optimiser, against plain.

    python -m benchmarks.step [--rounds N] [--only tiny] [--quick]

Each way runs in a process of its own, in turn; ours keeps its memory, as the command line does.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from benchmarks.baseline.cal import PlainTraining
from benchmarks.baseline.network import like
from benchmarks.harness import Report, elsewhere, pairs
from owdfa.backbones.base import build
from owdfa.cli.process import keep_memory
from owdfa.devices import autocast
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.training.meter import Meter
from owdfa.training.optimize import optimize_for_training
from owdfa.training.optimizer import build_optimizer

_KNOWN, _PROGRESS = 20, Progress(6, 10)  # an epoch in which all four terms count


class Case(NamedTuple):
    """A network on a batch."""

    backbone: str
    side: int
    images: int
    rounds: int  # more of what takes less time, and is noisier for it
    goal: float | None = None
    precision: str = "32-true"


CASES = (
    Case("tiny/trace8w16", 64, 64, 25, 1.8),
    Case("torchvision/resnet18", 128, 16, 15, 1.3),
    Case("torchvision/resnet50", 256, 8, 9, 1.6),
    Case("torchvision/resnet50", 256, 8, 5, precision="bf16-mixed"),
)
TOYS = (Case("tiny/trace8w16", 32, 8, 2),)


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, help="pairs of each row, for other numbers of them")
    parser.add_argument("--only", default="", help="part of a backbone's name")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(argv)
    report = report or Report("step")
    for case in TOYS if options.quick else CASES:
        if options.only in case.backbone:
            with elsewhere(plain_step, case) as plain, elsewhere(our_step, case) as ours:
                times = pairs(plain, ours, options.rounds or case.rounds)
            half = ", ours with precision=bf16-mixed" if case.precision != "32-true" else ""
            what = f"{case.backbone}, {case.images} images of {case.side} px{half}"
            report.compare(what, "s", times, case.goal)


def our_step(case: Case) -> Callable[[], object]:
    """A step as ``owdfa train`` makes it."""
    keep_memory()
    method, batch, settings = _method(case).train(), _batch(case), _settings(case)
    device = torch.device("cpu")
    optimize_for_training(method, settings)
    optimizer, meter = build_optimizer(method, settings.optimiser), Meter(0)

    def step() -> None:
        with autocast(device, settings.precision):
            views = tuple(method.features(view) for view in batch.views)
            losses = method.objective(views, batch.labels, _PROGRESS)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        meter.add(losses, batch)

    return step


def plain_step(case: Case) -> Callable[[], object]:
    """A step as the releases make it."""
    network, batch, settings = like(_method(case)).train(), _batch(case), _settings(case)
    trained = [each for each in network.parameters() if each.requires_grad]
    rates = {"lr": settings.optimiser.lr, "weight_decay": settings.optimiser.weight_decay}
    training = PlainTraining(network, torch.optim.Adam(trained, **rates), _KNOWN, _PROGRESS.epochs)
    return lambda: training.step(*batch.views, batch.labels, _PROGRESS.epoch)


def _settings(case: Case) -> RunSettings:
    changes = [f"precision={case.precision}", f"data.batch_size={case.images}"]
    return load_settings("cal", None, changes)


def _method(case: Case) -> CAL:
    torch.manual_seed(0)
    return CAL(build(case.backbone), _KNOWN, None, CALSettings())


def _batch(case: Case) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (case.images, 3, case.side, case.side)
    views = tuple(torch.randn(shape, generator=generator) for _ in range(2))
    rows = torch.arange(case.images)
    return Batch(views, torch.where(rows % 2 == 0, rows % _KNOWN, -1), rows)


if __name__ == "__main__":
    main()
