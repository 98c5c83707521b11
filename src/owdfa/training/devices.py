"""Devices, precision and determinism."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from owdfa.errors import UserError
from owdfa.runs.computing import Device, Precision


def find(device: Device) -> torch.device:
    """Find the first device of a kind.

    Raises:
        UserError: It is ``"cuda"`` and there is none.
    """
    here = torch.cuda.is_available() and torch.cuda.device_count() > 0
    if device == "cuda" and not here:
        raise UserError("device cuda: this machine has none that torch can use; take device=cpu")
    return torch.device("cuda", 0) if device != "cpu" and here else torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Convolutions and products in ``precision``, inside of a block."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


@contextmanager
def deterministic() -> Iterator[None]:
    """Take the algorithms that give the same bits every time, where torch has them.

    An operation that has none warns with its name. What stood before is restored at the end.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = import_module("torch.utils.deterministic")
    filled = memory.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # costs time, changes no result
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled
        torch.backends.cudnn.benchmark = benchmark


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Seed torch as a function of the step alone, so that a resumed run draws what it would have.

    Args:
        seed: The run's.
        epoch: From 0.
        step: From 0 in each epoch; the number of steps stands for what follows the last.
    """
    digest = hashlib.sha256(f"{seed} {epoch} {step}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
