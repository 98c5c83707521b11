"""Devices, precision and determinism: the one place that speaks to Lightning Fabric."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from owdfa.errors import UserError
from owdfa.runs.settings import Device, Precision


def start(device: Device, precision: Precision, *, together: bool = False) -> Fabric:
    """Get hold of one device.

    Args:
        device: Its kind.
        precision: What to compute in.
        together: This is one of several processes, as the environment says: meet the others, and
            take the device of this one's number.

    Raises:
        UserError: It is ``"cuda"`` and there is none, or fewer than processes.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and not cuda:
        raise UserError("device cuda: this machine has none that torch can use; take device=cpu")
    accelerator = "cuda" if device != "cpu" and cuda else "cpu"
    if not together:
        # One process, whatever a cluster's environment suggests.
        plain = LightningEnvironment()
        return Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=plain)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if accelerator == "cuda" and here > cuda:
        raise UserError(
            f"{here} processes: this machine has {cuda} GPUs; take device=cpu, or fewer"
        )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # a banner of four lines
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=everywhere // here,
        precision=precision,
        strategy=DDPStrategy(),
        plugins=TorchElasticEnvironment(),
    )
    fabric.launch()
    return fabric


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
