"""Training at full size on one GPU: CAL on 71,200 images of 256 px, against a plain implementation.

    python -m benchmarks.gpu [--toy] [--minutes 9] [--output FOLDER] [--list]

Needs a GPU with some 60 GB of memory, and this package installed (``pip install .``); no face
detector is used. A run is sized as the first protocol of OWDFA-40: 71,200 training images an epoch,
crops of 292 px, two views of 256 px, batches of 128, ResNet-50 from random weights, 190 prototypes.
``lab`` draws some of the images, which are then repeated: what a step costs does not depend on what
they show. The parts follow one another, each in its share of the time; after each, what is known so
far is written, so that a run that is cut short leaves its rows. ``--toy`` does all of it on the CPU
at toy size, to show that it works; ``--list`` writes the table without a measurement.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.harness import RESULTS
from benchmarks.on_gpu import parts
from benchmarks.on_gpu.bench import FULL, TOY, Bench
from benchmarks.on_gpu.board import Board

PARTS: tuple[tuple[Callable[[Bench, Board], None], float], ...] = (
    (parts.device, 20),
    (parts.images, 50),
    (parts.feeding, 40),
    (parts.ours, 150),
    (parts.plain, 70),
    (parts.phases, 30),
    (parts.others, 60),
    (parts.enhancement, 10),
    (parts.accuracy, 110),
)
"""In order, with the seconds that each may take; what one leaves, the next may have."""


def main(arguments: list[str] | None = None) -> int:
    """Measure; return 1 when a part failed."""
    options = _parsed(arguments)
    board = Board(options.output, toy=options.toy)
    if options.list:
        board.write()
        return 0
    if not options.toy and not torch.cuda.is_available():
        print("benchmarks.gpu: this machine has no GPU that torch can use; try --toy")
        return 2
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(TOY if options.toy else FULL, Path(folder), minutes=options.minutes)
        for part, seconds in PARTS:
            bench.allow(seconds)
            if not _run(part, bench, board):
                failed.append(part.__name__)
            board.write(quiet=True)
    board.write()
    for name in failed:
        print(f"failed: {name}; its rows stand as not yet measured")
    return 1 if failed else 0


def _run(part: Callable[[Bench, Board], None], bench: Bench, board: Board) -> bool:
    """Run one part; a failure ends that part alone."""
    started = time.perf_counter()
    print(f"== {part.__name__}", flush=True)
    try:
        part(bench, board)
    except Exception:  # noqa: BLE001 - the other parts' rows are worth having
        traceback.print_exc()
        return False
    finally:
        bench.tidy()
        print(f"== {part.__name__}: {time.perf_counter() - started:.0f} s", flush=True)
    return True


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="on the CPU, at toy size")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together")
    parser.add_argument("--output", type=Path, help="folder of gpu.json; with --toy: none")
    parser.add_argument("--list", action="store_true", help="write the table, measure nothing")
    options = parser.parse_args(arguments)
    if options.output is None and not options.toy:
        options.output = RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main())
