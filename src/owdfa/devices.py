"""Devices, precision and determinism."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from owdfa.errors import UserError
from owdfa.records.provenance import Device, Precision

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def find_device(device: Device) -> torch.device:
    """Find the device of a kind that this process computes on: one of several takes its own.

    Raises:
        UserError: It is ``"cuda"`` and there is none, or none for this process.
    """
    here = torch.cuda.is_available() and torch.cuda.device_count() > 0
    if device == "cuda" and not here:
        raise UserError("device cuda: this machine has none that torch can use; take device=cpu")
    if device == "cpu" or not here:
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise UserError(
            f"{index + 1} processes or more: this machine has {torch.cuda.device_count()} GPUs;"
            " take device=cpu, or fewer devices"
        )
    return torch.device("cuda", index)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Convolutions and products in ``precision``, inside of a block."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


@contextmanager
def algorithms(*, deterministic: bool) -> Iterator[None]:
    """Choose torch's algorithms for a block, and restore what was chosen before.

    Args:
        deterministic: Those that give bit-identical results every time, where torch has them; an
            operation that has none warns with its name. Float32 is then full float32 on a GPU
            too, not TF32. Otherwise the fastest, which are found by
            trial and may differ from run to run: a resumed run then agrees up to rounding.
    """
    workspace = os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # read when cuBLAS starts
    memory: Any = import_module("torch.utils.deterministic")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
    )
    torch.use_deterministic_algorithms(deterministic, warn_only=deterministic)
    memory.fill_uninitialized_memory = False  # costs time, changes no result
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = before[2]
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before[3:]
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """For a block, let operations on a CPU take one thread each; give the number they had.

    As many batches at a time are then faster than one after the other. Threads of one operation
    wait for each other, and on a machine that does something else as well that is most of the time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Seed torch as a function of the step alone, so that a resumed run draws what it would have.

    Args:
        seed: The run's.
        epoch: From 0.
        step: From 0 in each epoch; the number of steps stands for what follows the last.
    """
    digest = hashlib.sha256(f"{seed} {epoch} {step}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
