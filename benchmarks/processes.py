"""Training steps of CAL in one process and in two, on the same cores.

    python -m benchmarks.processes [--rounds 5] [--steps 4]

Two processes share the batch and half of the threads each; both ways compute the same losses.
There is little to win where one process uses all cores already: what is shown is what it costs to
act as one, an exchange of sums at every batch normalisation, forward and backward, and of all
gradients. It is for several GPUs, or several machines, that processes are worth having.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.harness import RESULTS, Comparison, Report, number
from owdfa.backbones.base import build
from owdfa.distributed import average_gradients, own_share, whole_batch
from owdfa.records.training import UNLABELLED, Batch, Progress
from owdfa.runs.assembly import assemble
from owdfa.runs.settings import OptimiserSettings, load_settings
from owdfa.training.devices import seed_step
from owdfa.training.fabric import start
from owdfa.training.fast import arrange
from owdfa.training.launch import Tell, launch, launched
from owdfa.training.optimizers import build_optimizer

KNOWN = 10


class Work(NamedTuple):
    """What a step is of."""

    network: str
    side: int  # of an image
    batch: int
    steps: int

    def __str__(self) -> str:
        return f"CAL step, {self.network}, {self.batch} images of {self.side} px"


class Outcome(NamedTuple):
    """What the first process saw."""

    seconds: float  # a step, the median
    loss: float  # of the last
    began: float  # when the first step did, by the clock of the machine


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="toy sizes, to try it out")
    options = parser.parse_args(arguments)
    steps = options.steps
    sizes = [Work("tiny/trace8w16", 64, 64, steps), Work("timm/resnet18", 128, 32, steps)]
    if options.quick:
        sizes = [Work("tiny/trace8w16", 16, 5, 2)]
    report = Report("processes", __doc__)
    apart, started = [], []
    begun = time.perf_counter()
    launch(nothing, 2, print)
    first = time.perf_counter() - begun
    for work in sizes:
        one, two = [], []
        for _ in range(options.rounds):
            one.append(run(work, 1)[0])
            outcome, start_up = run(work, 2)
            two.append(outcome)
            started.append(start_up)
        milliseconds = ([1e3 * each.seconds for each in outcomes] for outcomes in (one, two))
        report.add(Comparison(f"{work}: one process, two", "ms", *milliseconds))
        apart.append(abs(one[0].loss - two[0].loss) / abs(one[0].loss))
    report.note(
        f"Losses after {steps} steps differ by {max(apart):.1e} of themselves: the order of sums"
    )
    report.note(
        f"Starting two processes: {number(first)} s for the first time, when a server imports"
        f" everything once; later {number(statistics.median(started))} s from the call to the first"
        " step."
    )
    report.write(results)


def run(work: Work, num: int) -> tuple[Outcome, float]:
    """Train in ``num`` processes; return what was seen, and the seconds until the first step."""
    heard: list[Outcome] = []
    called = time.time()
    launch(partial(train, work), num, heard.append)
    return heard[0], heard[0].began - called


def nothing(tell: Tell) -> None:
    """Start and end."""


def train(work: Work, tell: Tell) -> None:
    """What each process does."""
    start("cpu", "32-true", together=launched())
    torch.manual_seed(0)
    chosen = {"backbone": {"name": work.network}, "method": {"name": "cal"}}
    method = assemble(load_settings(None, None, (), chosen), KNOWN, build(work.network))
    arrange(method)
    optimizer = build_optimizer(method, OptimiserSettings())
    labels = torch.arange(work.batch) % KNOWN
    labels[::2] = UNLABELLED
    own = own_share().rows(work.batch)
    times, began = [], time.time()
    for step in range(work.steps + 1):
        seed_step(0, 0, step)
        views = tuple(torch.randn(work.batch, 3, work.side, work.side)[own] for _ in range(2))
        begun = time.perf_counter()
        with whole_batch(work.batch):
            losses = method.losses(Batch(views, labels, labels), Progress(6, 10))
        optimizer.zero_grad()
        losses.total.backward()
        average_gradients(method)
        optimizer.step()
        times.append(time.perf_counter() - begun)
    tell(Outcome(statistics.median(times[1:]), losses.total.item(), began))


if __name__ == "__main__":
    main()
