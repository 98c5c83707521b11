"""The end of CAL's epoch: novel bar and pruning from sums and counts, against all logits kept.

    python -m benchmarks.epoch_end [--rounds 3] [--classes 2000] [--quick]

The plain way is timed on the images that fit, and extrapolated in proportion to their number.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.baseline import epoch as plain
from benchmarks.harness import Comparison, Report, pairs, seconds
from benchmarks.machine import copy_bandwidth
from benchmarks.peak import cost, slope
from owdfa.backbones.base import Backbone
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Progress

_BATCH, _MILLION = 128, 1_000_000


class Size(NamedTuple):
    """Of an epoch, and of what it is measured on."""

    classes: int
    dim: int
    timed: int  # images that the plain way is timed on
    held: tuple[int, ...]  # images that memory is measured with
    most: int  # images that ours is measured with as well, and plain is extrapolated to

    @property
    def known(self) -> int:
        """Number of known classes: one prototype of ten, as CAL begins."""
        return self.classes // 10


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(argv)
    size = Size(options.classes, 2048, 50_000, (10_000, 50_000, 100_000), _MILLION)
    if options.quick:
        size = Size(40, 16, 1_000, (1_000, 2_000), 3_000)
    report = Report("epoch_end", __doc__)
    compare_ends(report, size, options.rounds)
    compare_epochs(report, size, options.rounds)
    compare_memory(report, size)
    report.write()


def compare_ends(report: Report, size: Size, rounds: int) -> None:
    """What is left to do when the epoch is over: the goal is set for this."""
    steps = _logits(size, size.timed)
    half, prototypes = steps[: len(steps) // 2], torch.randn(size.classes, size.dim)
    theirs, own = pairs(lambda: _plain_end(size, steps, prototypes), _our_end(size, steps), rounds)
    of_half = statistics.median(
        seconds(lambda: _plain_end(size, half, prototypes)) for _ in range(rounds)
    )
    num_more = _BATCH * (len(steps) - len(half))
    an_image = max(0.0, statistics.median(theirs) - of_half) / num_more
    bandwidth, vectors = copy_bandwidth(), 4 * size.classes * size.dim
    report.add(
        Comparison(
            what=f"the epoch's end, 1,000,000 images, {size.classes:,} prototypes",
            unit="s",
            baseline=[t + an_image * (_MILLION - size.timed) for t in theirs],
            ours=own,
            goal=20.0,
            limit=3 * vectors / bandwidth,
            limit_is=f"prototypes read twice, written once at {bandwidth / 1e9:.0f} GB/s",
        )
    )
    report.note(
        f"Plain: timed on {size.timed:,} images ({statistics.median(theirs):.3g} s) and on half of"
        f" them ({of_half:.3g} s), extrapolated to a million by the difference; merging prototypes,"
        " which does not grow with images, is in both."
    )
    report.note(
        "Ours does not depend on the number of images. Its time is the cosines of dropped and kept"
        " prototypes and their sums, two matrix products that the limit (bytes alone) leaves out."
    )


def compare_epochs(report: Report, size: Size, rounds: int) -> None:
    """All that the epoch spends on these statistics, what each step notes included."""
    weak, strong = torch.randn(2, _BATCH, size.classes)
    method, num_steps = _method(size), _MILLION / _BATCH
    calls = 50

    kept: list[tuple[Tensor, Tensor]] = []

    def note_plain() -> None:
        kept.extend((weak.detach().clone(), strong.argmax(dim=1)) for _ in range(calls))
        kept.clear()

    def note_ours() -> None:
        for _ in range(calls):
            method._observe(weak, strong)

    theirs, own = pairs(note_plain, note_ours, max(rounds, 5))
    end = report.comparisons[-1]
    ends = statistics.median(end.baseline), statistics.median(end.ours)
    report.add(
        Comparison(
            what=f"all of the epoch's statistics: {num_steps:,.0f} steps noted, and the end",
            unit="s",
            baseline=[ends[0] + t / calls * num_steps for t in theirs],
            ours=[ends[1] + t / calls * num_steps for t in own],
            limit=num_steps * 2 * weak.nbytes / copy_bandwidth(),
            limit_is="each logit read once",
        )
    )
    report.note(
        "Both rows have the softmax of every image in them: ours takes it step by step, while the"
        " logits are in the cache, the plain way at the end. Ours does not save that work."
    )


def compare_memory(report: Report, size: Size) -> None:
    """Peak memory of a process that does nothing but an epoch's statistics."""
    rows, plain_mib, our_mib = [], [], []
    for images in size.held:
        plain_mib.append(cost(hold_plain, size, images).mib)
        our_mib.append(cost(hold_ours, size, images).mib)
        rows.append((f"{images:,}", plain_mib[-1], our_mib[-1]))
    a_row = max(0.0, slope(size.held, plain_mib))
    more = (size.most - size.held[-1]) / 2**20
    our_mib.append(cost(hold_ours, size, size.most).mib)
    rows.append((f"{size.most:,} (plain: extrapolated)", plain_mib[-1] + a_row * more, our_mib[-1]))
    our_row = slope((size.held[-1], size.most), our_mib[-2:])
    rows.append(("bytes for each further image", a_row, max(0.0, our_row)))
    report.table(
        f"Peak memory in MiB, {size.classes:,} prototypes, torch included",
        ["images", "plain", "ours"],
        rows,
    )


def hold_plain(size: Size, images: int) -> None:
    """An epoch's statistics the plain way, logits made as they come."""
    _plain_end(size, _logits(size, images), torch.randn(size.classes, size.dim))


def hold_ours(size: Size, images: int) -> None:
    """An epoch's statistics our way."""
    method = _method(size)
    for start in range(0, images, _BATCH):
        weak, strong = _batch_of(size, min(_BATCH, images - start), start)
        method._observe(weak, strong)
    method.end_epoch(Progress(0, 10))


def _plain_end(size: Size, steps: list[tuple[Tensor, Tensor]], prototypes: Tensor) -> None:
    logits = torch.cat([weak for weak, _ in steps])
    strong = torch.cat([choice for _, choice in steps])
    plain.novel_threshold(logits, strong, size.known, 0.0)
    plain.prune(prototypes, logits, size.known)


def _our_end(size: Size, steps: list[tuple[Tensor, Tensor]]) -> Callable[[], object]:
    """The same end from sums and counts; what it changes is put back first, within the time."""
    method = _method(size)
    guesses = torch.cat([weak.argmax(dim=1) for weak, _ in steps])
    method.usage.copy_(guesses.bincount(minlength=size.classes))
    method.agreed.copy_(torch.tensor([[8.0, 10.0], [4.0, 10.0]]))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}

    def end() -> None:
        method.load_state_dict(before)
        method.end_epoch(Progress(0, 10))

    return end


def _logits(size: Size, images: int) -> list[tuple[Tensor, Tensor]]:
    """What the plain way keeps of each step: weak logits, and what the strong view chose."""
    kept = []
    for start in range(0, images, _BATCH):
        weak, strong = _batch_of(size, min(_BATCH, images - start), start)
        kept.append((weak, strong.argmax(dim=1)))
    return kept


def _batch_of(size: Size, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of two views that favour some prototypes, and agree on most images."""
    generator = torch.Generator().manual_seed(seed)
    weak = torch.randn(images, size.classes, generator=generator)
    weak += torch.linspace(4, 0, size.classes)
    return weak, weak + 0.3 * torch.randn(images, size.classes, generator=generator)


def _method(size: Size) -> CAL:
    backbone = Backbone("none", torch.nn.Identity(), size.dim, (0, 0, 0), (1, 1, 1))
    settings = CALSettings(ffe=False, prototypes_per_known=size.classes // size.known)
    return CAL(backbone, size.known, None, settings)


if __name__ == "__main__":
    main()
