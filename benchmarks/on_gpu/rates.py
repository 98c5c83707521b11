"""What the device can do at its best: bytes and products a second, measured on the spot.

On the CPU the same work is timed with a clock, so that every part can be tried without a GPU.
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch


class Rates(NamedTuple):
    """Of one device."""

    copy: float  # bytes a second, read and written, of a copy within the device's memory
    link: float  # bytes a second from page-locked memory of the host
    bfloat16: float  # FLOP a second of a matrix product
    float32: float  # the same, without TF32


class Size(NamedTuple):
    """How much is taken to measure them."""

    copied: int  # bytes
    sent: int  # bytes
    matrix: int  # side


LARGE, TOY = Size(4 * 2**30, 2**30, 8192), Size(2**20, 2**20, 256)


def measure(device: torch.device, size: Size) -> Rates:
    """Measure all four."""
    source = torch.ones(size.copied // 4, device=device)
    target = torch.empty_like(source)
    copy = 2 * size.copied / median_seconds(lambda: target.copy_(source), device)
    del source, target
    sent = torch.empty(size.sent, dtype=torch.uint8, pin_memory=device.type == "cuda")
    there = torch.empty_like(sent, device=device, pin_memory=False)
    link = size.sent / median_seconds(lambda: there.copy_(sent, non_blocking=True), device)
    del sent, there
    return Rates(
        copy,
        link,
        _matrix_rate(size.matrix, torch.bfloat16, device),
        _matrix_rate(size.matrix // 2, torch.float32, device),
    )


def _matrix_rate(side: int, dtype: torch.dtype, device: torch.device) -> float:
    # Random numbers: zeros cost the chip less power, and so less time.
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return 2 * side**3 / median_seconds(lambda: left @ right, device)
    finally:
        torch.set_float32_matmul_precision(before)


def median_seconds(work: Callable[[], object], device: torch.device, rounds: int = 20) -> float:
    """Median time of one call, after three that warm up; on a GPU between two events."""
    for _ in range(3):
        work()
    if device.type != "cuda":
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize(device)
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in pairwise(marks))
