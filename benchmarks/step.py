"""One training step of CAL on the CPU: two views, losses, backward, optimiser.

    python -m benchmarks.step [--rounds N] [--only tiny] [--quick]

Each way runs in a process of its own, in turn, since ours changes how its process keeps memory.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baseline.cal import PlainTraining
from benchmarks.baseline.network import like
from benchmarks.harness import Comparison, Report, elsewhere, pairs
from benchmarks.machine import conv_rate, matmul_rate
from owdfa.backbones.base import build
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import OptimiserSettings, RunSettings, load_settings
from owdfa.training.devices import autocast
from owdfa.training.optimize import make_fast
from owdfa.training.meter import Meter
from owdfa.training.optimizer import build_optimizer

_OPTIONS = {
    "": "",
    "compile": ", ours with compile=true (option)",
    "bf16-mixed": ", ours in bfloat16 (option)",
}
_KNOWN, _PROGRESS = 20, Progress(6, 10)  # an epoch in which all four terms count


class Case(NamedTuple):
    """A network on a batch."""

    backbone: str
    side: int
    images: int
    rounds: int  # more of what takes less time, and is noisier for it
    goal: float | None = None
    option: str = ""  # of ``owdfa train``: "bf16-mixed" changes numbers, "compile" only rounding


CASES = (
    Case("tiny/trace8w16", 64, 64, 25, 2.0),
    Case("torchvision/resnet18", 128, 16, 15, 1.5),
    Case("torchvision/resnet50", 256, 8, 9, 1.5),
    Case("torchvision/resnet50", 256, 8, 9, option="compile"),
    Case("torchvision/resnet50", 256, 8, 5, option="bf16-mixed"),
)
TOYS = (Case("tiny/trace8w16", 32, 8, 5),)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, help="pairs of each row, for other numbers of them")
    parser.add_argument("--only", default="", help="part of a backbone's name")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(argv)
    report = Report("step", __doc__)
    rate = max(conv_rate(), matmul_rate())
    for case in TOYS if options.quick else CASES:
        if options.only in case.backbone:
            report.add(compare(case, options.rounds or case.rounds, rate))
    title = "What ours spends a step of the tiny network on, self time of the main thread"
    report.table(
        title, ["operation", "ms", "share"], breakdown((TOYS if options.quick else CASES)[0])
    )
    report.note(
        "The limit counts multiplications of convolutions and matrices alone, as ours makes them"
        " (Winograd's way needs fewer), at the rate of the best convolution or product. Between"
        " those, batch norm, ReLU and their gradients read and write every map some fifteen times,"
        " bound by memory; and convolutions of 3 to 64 channels do not fill the processor's vectors"
        " as those of 128 do."
    )
    report.note(
        "bfloat16 is precision=bf16-mixed, an option that changes numbers; compile=true, which"
        " compiles the network in its first step, and all the rest change how sums are rounded"
        " alone."
    )
    report.write()


def compare(case: Case, rounds: int, rate: float) -> Comparison:
    """Plain and ours, each in its process."""
    with FlopCounterMode(display=False) as counter:
        our_step(case)()
    flop = counter.get_total_flops()
    with elsewhere(plain_step, case) as theirs, elsewhere(our_step, case) as own:
        times = pairs(theirs, own, rounds)
    half = case.option == "bf16-mixed"
    return Comparison(
        what=f"{case.backbone}, {case.images} images of {case.side} px{_OPTIONS[case.option]}",
        unit="ms",
        baseline=[1e3 * t for t in times[0]],
        ours=[1e3 * t for t in times[1]],
        goal=case.goal,
        limit=None if half else 1e3 * flop / rate,
        limit_is="" if half else f"{flop / 1e9:.3g} GFLOP at {rate / 1e9:.0f} GFLOP/s",
    )


def our_step(case: Case) -> Callable[[], object]:
    """A step as ``owdfa train`` makes it on a CPU."""
    method, batch = _method(case).train(), _batch(case)
    settings, device = _settings(case), torch.device("cpu")
    make_fast(method, settings, device)
    optimizer, meter = build_optimizer(method, OptimiserSettings()), Meter(0)

    def step() -> None:
        with autocast(device, settings.precision):
            losses = method.losses(batch, _PROGRESS)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        meter.add(losses, batch)

    return step


def plain_step(case: Case) -> Callable[[], object]:
    """A step as the releases make it."""
    network, batch = like(_method(case)).train(), _batch(case)
    trained = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(trained, OptimiserSettings().lr, weight_decay=1e-3)
    training = PlainTraining(network, optimizer, _KNOWN, _PROGRESS.epochs)
    return lambda: training.step(*batch.views, batch.labels, _PROGRESS.epoch)


def breakdown(case: Case, most: int = 12, steps: int = 3) -> list[tuple[str, float, str]]:
    """The operations that take most of a step of ours."""
    step = our_step(case)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(steps):
            step()
    entries = sorted(profiled.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in entries)
    return [
        (
            each.key,
            each.self_cpu_time_total / 1e3 / steps,
            f"{each.self_cpu_time_total / total:.0%}",
        )
        for each in entries[:most]
    ]


def _settings(case: Case) -> RunSettings:
    precision = case.option if case.option.startswith("bf16") else "32-true"
    return load_settings(
        None,
        None,
        [
            "method.name=cal",
            f"backbone.name={case.backbone}",
            f"data.batch_size={case.images}",
            f"precision={precision}",
            f"compile={case.option == 'compile'}".lower(),
            "deterministic=false",
        ],
    )


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
