"""Optimiser state that follows rows of a parameter when they change place."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from owdfa.records.training import RowMove


@torch.no_grad()
def move_rows(optimizer: Optimizer, move: RowMove) -> None:
    """Move what the optimiser remembers of each row to the row's new place.

    Every state tensor with one entry a row (Adam's two moments, a momentum) is permuted; rows that
    hold nothing any more are set to 0. Step counts, and parameters without state, stay as they are.

    Args:
        optimizer: Any optimiser of ``torch.optim``, before or after its first step.
        move: Which row went where.
    """
    num_rows, num_left = len(move.parameter), len(move.sources)
    for value in optimizer.state.get(move.parameter, {}).values():
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == num_rows:
            value[:num_left] = value[move.sources.to(value.device)]
            value[num_left:] = 0
