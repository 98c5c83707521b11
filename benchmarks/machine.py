"""What the machine is, and the two rates that bound any work on it."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("torch", "numpy", "pillow", "pyarrow")


def describe() -> str:
    """Processor, cores, memory, load and versions in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory():.0f} GiB, load {load:.1f};"
        f" Python {platform.python_version()}, {packages}"
    )


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes a second that a copy of a large array reads and writes together, all threads."""
    import torch

    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source))


def matmul_rate(size: int = 2048) -> float:
    """FLOP a second of a float32 matrix product, all threads."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / _best(lambda: left @ right)


def conv_rate(channels: int = 128, side: int = 32, batch: int = 16) -> float:
    """FLOP a second of a float32 3 x 3 convolution of many channels, all threads, forward only."""
    import torch

    images = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    layer = layer.to(memory_format=torch.channels_last)
    with torch.no_grad():
        return 2 * 9 * channels**2 * side**2 * batch / _best(lambda: layer(images))


def _best(work: Callable[[], object], rounds: int = 7) -> float:
    """Seconds of the fastest of a few calls: a limit is what the machine does at its best."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> float:
    """GiB of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
