"""Run a function in a process of its own, and say how long it took and how much memory it held."""

import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What one call cost."""

    seconds: float  # without the start of the process and its imports
    mib: float  # the most memory that the process ever held, imports included
    result: Any


def cost(function: Callable[..., Any], *args: Any, cap: float | None = None) -> Cost:
    """Call ``function(*args)`` in a fresh process.

    Processes that it starts are not counted.

    Args:
        function: At the top level of a module.
        *args: Its arguments.
        cap: GiB of address space that the process may have; None for no limit.

    Returns:
        What it cost. The result should be small.
    """
    context = get_context("spawn")  # a forked one would begin with the memory of this one
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_called, function, args, cap).result()


def slope(sizes: Sequence[int], mib: Sequence[float]) -> float:
    """Bytes for each further row, from the two largest sizes."""
    (small, less), (large, more) = sorted(zip(sizes, mib, strict=True))[-2:]
    return (more - less) * 2**20 / (large - small)


def _called(function: Callable[..., Any], args: tuple[Any, ...], cap: float | None) -> Cost:
    if cap is not None:
        resource.setrlimit(resource.RLIMIT_AS, (int(cap * 2**30),) * 2)
    start = time.perf_counter()
    result = function(*args)
    return Cost(time.perf_counter() - start, _peak(), result)


def _peak() -> float:
    """MiB; ``ru_maxrss`` would begin with what the parent held when it started this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
