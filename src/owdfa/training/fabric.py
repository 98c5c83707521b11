"""Lightning Fabric, which is started here alone: importing it takes two seconds."""

import logging
import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from owdfa.errors import UserError
from owdfa.runs.computing import Device, Precision
from owdfa.training.devices import find


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
    accelerator = find(device).type
    # Its banners, and its line about the precision.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if not together:
        # One process, whatever a cluster's environment suggests.
        plain = LightningEnvironment()
        return Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=plain)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if accelerator == "cuda" and here > torch.cuda.device_count():
        raise UserError(
            f"{here} processes: this machine has {torch.cuda.device_count()} GPUs; take"
            " device=cpu, or fewer"
        )
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
