"""Which optimiser, at which rate; and how its state follows rows that change place."""

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from owdfa.records.training import RowMove
from owdfa.runs.settings import OptimiserSettings


def build_optimizer(method: nn.Module, settings: OptimiserSettings) -> Optimizer:
    """The optimiser of all parameters that are trained."""
    parameters = [each for each in method.parameters() if each.requires_grad]
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        return SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay)
    kind = AdamW if settings.name == "adamw" else Adam
    # Each weight is read and written once; on a CPU, torch would else go over them a dozen times.
    return kind(parameters, lr, weight_decay=decay, fused=True)


def set_learning_rate(optimizer: Optimizer, settings: OptimiserSettings, epoch: int) -> None:
    """Set the rate of ``epoch``, counted from 0: it drops every ``lr_step`` epochs."""
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * settings.lr_gamma ** (epoch // settings.lr_step)


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
