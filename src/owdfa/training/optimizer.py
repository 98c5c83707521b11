"""Which optimiser, at which rate; and how its state follows rows that change place."""

import math

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from owdfa.records.training import Progress, RowMove
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings


def build_optimizer(method: nn.Module, settings: OptimiserSettings) -> Optimizer:
    """The optimiser of all parameters that are trained."""
    # A group, since torch refuses an empty list: a method that is only fitted trains none.
    parameters = [{"params": [each for each in method.parameters() if each.requires_grad]}]
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        return SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay)
    kind = AdamW if settings.name == "adamw" else Adam
    # Each weight is read and written once; on a CPU, torch would else go over them a dozen times.
    return kind(parameters, lr, weight_decay=decay, fused=True)


def learning_rate(
    optimiser: OptimiserSettings, schedule: ScheduleSettings, progress: Progress
) -> float:
    """The learning rate of an epoch."""
    epoch, epochs = progress
    match schedule.name:
        case "constant":
            factor = 1.0
        case "step":
            factor = schedule.gamma ** (epoch // schedule.every)
        case "cosine":
            left = (1 + math.cos(math.pi * epoch / epochs)) / 2
            factor = schedule.gamma + (1 - schedule.gamma) * left
    return optimiser.lr * factor


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
