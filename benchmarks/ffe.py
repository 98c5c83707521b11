"""Frequency-guided feature enhancement, forward and backward: matrix products against an FFT.

python -m benchmarks.ffe [--rounds 7] [--quick]
"""

import argparse
from collections.abc import Callable, Sequence

import torch

from benchmarks.baseline.frequency import PlainEnhancement
from benchmarks.harness import Comparison, Report, pairs
from benchmarks.machine import matmul_rate
from owdfa.layers import FrequencyEnhancement

CASES = ((64, 64), (128, 32), (256, 16))  # pixels a side, images
TOYS = ((16, 2),)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(argv)
    report = Report("ffe", __doc__)
    rate = matmul_rate()
    for side, images in TOYS if options.quick else CASES:
        report.add(compare(side, images, rate, options.rounds))
    report.note(
        "The mask's two convolutions have 27 and 9 numbers a place to sum: too few for a matrix"
        " product to run at its rate. Neighbours are put in columns twice, since keeping the 16"
        " maps for the way back would cost more than computing them again."
    )
    report.note(
        "Masks far below 0 have denormal numbers as their sigmoid, which the processor handles in"
        " microcode: ours sets them to 0, which changes no digit of the attention; the plain way"
        " pays for them, the more the larger the image."
    )
    report.write()


def compare(side: int, images: int, rate: float, rounds: int) -> Comparison:
    """Plain and ours with the same weights on the same images."""
    torch.manual_seed(0)
    ours, plain = FrequencyEnhancement(), PlainEnhancement()
    plain.load_state_dict(ours.state_dict())
    batch, cells = torch.randn(images, 3, side, side), ours.cells
    pull = torch.randn(images, 1, cells, cells)
    theirs, own = pairs(_pass(plain, batch, pull), _pass(ours, batch, pull), rounds)
    flop = operations(side, images)
    return Comparison(
        what=f"FFE forward + backward, {images} images of {side} px",
        unit="ms",
        baseline=[1e3 * t for t in theirs],
        ours=[1e3 * t for t in own],
        goal=3.0 if side in (64, 256) else None,
        limit=1e3 * flop / rate,
        limit_is=f"{flop / 1e9:.2g} GFLOP at {rate / 1e9:.0f} GFLOP/s",
        at={"side": side},
    )


def operations(side: int, images: int) -> float:
    """FLOP that cannot be left out: both convolutions, their gradients, DCT and inverse."""
    convolutions = 2 * (27 + 9) * 16 + 2 * (27 + 9 + 9) * 16  # forward; both weights and the maps
    transforms = (3 + 1 + 1) * 2 * 2 * side  # three channels there, one back, its gradient
    return float(images * side**2 * (convolutions + transforms))


def _pass(
    module: FrequencyEnhancement | PlainEnhancement, images: torch.Tensor, pull: torch.Tensor
) -> Callable[[], object]:
    def work() -> None:
        module.zero_grad()
        module.attention(images).backward(pull)

    return work


if __name__ == "__main__":
    main()
