"""Several processes, one batch: the objective is that of the whole batch in every process.

Each process holds some rows of a batch (``Shard``) and a copy of the network. It computes features
of its rows; ``all_gather_rows`` puts those of all processes together, and every process computes
the same objective from them. ``average_gradients`` then gives all the same gradients. Statistics
that training rests on are sums over the whole batch, so nothing is left to add up later.

Batch normalisation: on GPUs layers become ``SyncBatchNorm`` (``sync_batch_norm``). On CPUs torch
has none: each process normalises by its own rows, and results differ from those of one process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function

from owdfa.errors import UserError
from owdfa.records.training import Features


class Shard(NamedTuple):
    """Which of how many processes this is."""

    rank: int = 0
    num: int = 1

    def rows(self, size: int) -> slice:
        """Its rows of a batch of ``size``: sizes differ by one at most, the first are larger."""
        each, rest = divmod(size, self.num)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))


def get_shard() -> Shard:
    """The shard of this process."""
    if distributed.is_available() and distributed.is_initialized():
        return Shard(distributed.get_rank(), distributed.get_world_size())
    return Shard()


def launched() -> bool:
    """Whether a launcher (torchrun, SLURM through it) started this process as one of several."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several: the one that writes."""
    return not launched() or os.environ["RANK"] == "0"


def start_process_group(device: torch.device) -> None:
    """Connect to the other processes, where a launcher started several; NCCL on GPUs, else gloo."""
    if launched() and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


@contextmanager
def explain_worker_loss() -> Iterator[None]:
    """Turn what torch says when another process is gone into an error of one line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the connection to the other processes is lost ({reason}); if one of them was killed,"
            " run the same command with --resume to continue"
        ) from error


def barrier() -> None:
    """Wait until every process is here."""
    if get_shard().num > 1:
        with explain_worker_loss():
            distributed.barrier()


def all_gather_features(features: Features, size: int) -> Features:
    """Put the features of all processes in order: of the own rows to those of the whole batch.

    Args:
        features: Of this process's rows.
        size: Rows of the whole batch.
    """
    shard = get_shard()
    if shard.num == 1:
        return features
    return Features(
        all_gather_rows(features.embedding, size),
        tuple(all_gather_rows(each, size) for each in features.maps),
        {name: all_gather_rows(part, size) for name, part in features.parts.items()},
    )


def all_gather_rows(rows: Tensor, size: int) -> Tensor:
    """Put the rows of all processes in order: (own, ...) to (size, ...); differentiable."""
    shard = get_shard()
    if shard.num == 1:
        return rows
    whole: Tensor = _AllGather.apply(rows, size, shard)
    return whole


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Average the gradients over the processes; then they are those of the whole batch.

    Every process computes the objective of the whole batch. What reaches a parameter through the
    rows of one process was multiplied by the number of processes (``all_gather_rows``), so that the
    average is the sum; what reaches it directly is the same everywhere.
    """
    shard = get_shard()
    if shard.num == 1:
        return
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    flat = torch.cat([each.flatten() for each in gradients])
    with explain_worker_loss():
        distributed.all_reduce(flat)
    flat /= shard.num
    parts = flat.split([each.numel() for each in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def sync_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Let batch normalisation use the rows of all processes, where there are several GPUs."""
    if get_shard().num > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)


@final
class _AllGather(Function):
    """All rows; the gradient goes to the own ones, times the number of processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, size: int, shard: Shard) -> Tensor:
        ctx.own, ctx.num = shard.rows(size), shard.num
        bounds = [Shard(rank, shard.num).rows(size) for rank in range(shard.num)]
        lengths = [own.stop - own.start for own in bounds]
        padded = rows.new_zeros(lengths[0], *rows.shape[1:])  # the first shard is the largest
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in lengths]
        with explain_worker_loss():
            distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.num, None, None
