"""What this machine has, for ``owdfa doctor``, and for the record of a run."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

_PARTS = ("torch", "torchvision", "timm", "pyarrow", "pillow", "dlib-bin")
_LITTLE_DISK = 5e9  # bytes; a store of 20,000 crops of 292 px


class Finding(NamedTuple):
    """One line of the examination."""

    part: str
    text: str
    good: bool = True


def examine() -> list[Finding]:
    """Look at Python, libraries, cores, memory, disk and devices."""
    found = [
        Finding("owdfa", version("owdfa")),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *(_library(name) for name in _PARTS),
        Finding("cores", str(len(os.sched_getaffinity(0)))),
        _disk(),
    ]
    return found + _devices()


def _library(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, f"missing; install it with: pip install {name}", good=False)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= _LITTLE_DISK
    hint = "" if enough else "; little for a store of crops"
    return Finding("disk", f"{free / 1e9:.0f} GB free here{hint}", good=enough)


def _devices() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("device", f"torch does not load ({error})", good=False)]
    if not torch.cuda.is_available():
        return [Finding("device", "cpu only; the recipe tiny is made for it")]
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [Finding("device", f"{c.name}, {c.total_memory / 2**30:.0f} GiB") for c in cards]
