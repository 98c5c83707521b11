"""Run a method over images without training it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric

from owdfa.loader import PlainBatch
from owdfa.methods.base import Method


class Answers(NamedTuple):
    """What a method says of the images of one batch."""

    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    probabilities: torch.Tensor  # (B, C) float32, on the CPU; temperature 1
    embedding: torch.Tensor  # (B, D) float32, on the CPU


@torch.inference_mode()
def answer(method: Method, batches: Iterable[PlainBatch], fabric: Fabric) -> Iterator[Answers]:
    """Go through ``batches``; the method is in evaluation mode meanwhile.

    Args:
        method: On ``fabric``'s device.
        batches: Images, and those that cannot be read; a batch may hold none.
        fabric: Gives device and precision.
    """
    was_training = method.training
    method.eval()
    try:
        for batch in batches:
            if len(batch.positions) == 0:
                continue
            with fabric.autocast():
                outputs = method(batch.images.to(fabric.device, non_blocking=True))
            probabilities = outputs.logits.float().softmax(dim=1).cpu()
            yield Answers(batch.positions, probabilities, outputs.embedding.float().cpu())
    finally:
        method.train(was_training)
