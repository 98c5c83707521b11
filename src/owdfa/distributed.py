"""Several processes, one batch: every number comes out as one process with the whole batch has it.

Each process holds its own rows of a batch (``Share``) and a copy of the network. A method computes
logits of its rows and calls ``joined``; from there on, every process computes the objective of the
whole batch, and the statistics that training rests on: nothing is left to be added up at the end of
an epoch. Meanwhile ``whole_batch`` lets batch normalisation and dropout work as if all rows were
here, and ``average_gradients`` puts the gradients together::

    with whole_batch(len(batch.labels)):
        losses = method.losses(batch, progress)
    losses.total.backward()
    average_gradients(method)

Sums and counts go between the processes, never means: shares are of unequal size, and may be empty.
In one process all of it does nothing. What else a backbone draws at random (stochastic depth, say)
each process draws for its own rows.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from owdfa.errors import LostProcessError

_whole: ContextVar[int] = ContextVar("whole")  # rows of the batch under way


class Share(NamedTuple):
    """Which of how many processes this is."""

    rank: int = 0
    num: int = 1

    def rows(self, size: int) -> slice:
        """Its rows of a batch of ``size``: sizes differ by one at most, the first are larger."""
        each, rest = divmod(size, self.num)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))


def own_share() -> Share:
    """The share of this process."""
    if distributed.is_available() and distributed.is_initialized():
        return Share(distributed.get_rank(), distributed.get_world_size())
    return Share()


@contextmanager
def whole_batch(size: int) -> Iterator[None]:
    """Let what is computed inside be that of a batch of ``size`` rows, of which some are here."""
    if own_share().num == 1:
        yield
        return
    before = _whole.set(size)
    try:
        with _AsOne():
            yield
    finally:
        _whole.reset(before)


def joined(rows: Tensor) -> Tensor:
    """Put the rows of all processes in order: (own, ...) to (whole, ...).

    The gradient of what every process computes from them is that of one process: see
    ``average_gradients``. Inside ``whole_batch`` only.
    """
    share = own_share()
    if share.num == 1:
        return rows
    whole: Tensor = _Joined.apply(rows, _whole.get(), share)
    return whole


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Average the gradients over the processes; then they are those of the whole batch.

    Every process computes the objective of the whole batch. What reaches a parameter through the
    rows of one process was multiplied by the number of processes (``joined``), so that the average
    is the sum; what reaches it directly, a penalty of its size say, is the same everywhere.
    """
    share = own_share()
    if share.num == 1:
        return
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    flat = torch.cat([each.flatten() for each in gradients])
    distributed.all_reduce(flat)
    flat /= share.num
    parts = flat.split([each.numel() for each in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


@contextmanager
def naming_a_lost_process() -> Iterator[None]:
    """Turn what the backend says when a process is lost into one line."""
    try:
        yield
    except RuntimeError as error:
        if own_share().num == 1 or not _is_loss(error):
            raise
        raise LostProcessError(
            "another process of this training ended, and so does this one;"
            " the same command with --resume goes on"
        ) from None


def first_to_fail() -> bool:
    """Whether this is the first of torchrun's processes to fail: it speaks for all."""
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            place, port, is_master=False, timeout=timedelta(seconds=5)
        )
        return int(store.add(f"owdfa/failed/{attempt}", 1)) == 1
    except RuntimeError:  # nobody is there to ask
        return True


def _is_loss(error: RuntimeError) -> bool:
    """Whether ``error`` comes from the connection to another process."""
    signs = ("onnection closed", "onnection reset", "roken pipe", "onnection refused", "Timed out")
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in signs)


@final
class _AsOne(TorchFunctionMode):
    """Calls the batch normalisation and the dropout below in place of torch's.

    Whatever module of whatever library calls them: nothing in the network is exchanged.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is functional.batch_norm:
            function = _batch_norm
        elif function is functional.dropout:
            function = _dropout
        return function(*args, **(kwargs or {}))


@final
class _Joined(Function):
    """All rows; the gradient goes to the own ones, times the number of processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, size: int, share: Share) -> Tensor:
        ctx.own, ctx.num = share.rows(size), share.num
        lengths = [end - start for start, end in _bounds(size, share.num)]
        padded = rows.new_zeros(lengths[0], *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.num, None, None


def _bounds(size: int, num: int) -> list[tuple[int, int]]:
    """First row and end of each share; the first share is the longest."""
    own = [Share(rank, num).rows(size) for rank in range(num)]
    return [(rows.start, rows.stop) for rows in own]


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
    """``functional.dropout``: drawn for all rows, the same everywhere; the own ones are used."""
    if not training or p == 0:
        return functional.dropout(input, p, training, inplace)
    size = _whole.get()
    mask = functional.dropout(input.new_ones(size, *input.shape[1:]), p)
    return input * mask[own_share().rows(size)]


def _batch_norm(  # noqa: PLR0913
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm`` with the mean and variance of the rows of all processes."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    x = input if input.dtype == torch.float64 else input.float()
    mean, variance, count = _moments(x.detach())
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
            unbiased = variance * (count / (count - 1))
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    moments = _Moments(mean, variance, count)
    normal: Tensor = _BatchNorm.apply(x, weight, bias, moments, eps)
    return normal.to(input.dtype)


class _Moments(NamedTuple):
    """Of each channel, over the rows of all processes."""

    mean: Tensor  # (C,)
    variance: Tensor  # (C,), divided by the count
    total: Tensor  # (), how many numbers they are of


@torch.no_grad()
def _moments(x: Tensor) -> _Moments:
    """Join the moments of the shares: two passes in each, then the parallel formula in float64.

    Chan, Golub and LeVeque, The American Statistician 1983.
    """
    channels = x.shape[1]
    own = torch.zeros(1 + 2 * channels, dtype=torch.float64, device=x.device)
    if x.numel():
        own[0] = x.numel() // channels
        own[1:] = torch.cat(torch.batch_norm_update_stats(x, None, None, 0.0))
    parts = [torch.empty_like(own) for _ in range(own_share().num)]
    distributed.all_gather(parts, own)
    counts, means, variances = torch.stack(parts).split([1, channels, channels], dim=1)
    count = counts.sum()
    mean = (counts * means).sum(dim=0) / count
    variance = (counts * (variances + (means - mean).square())).sum(dim=0) / count
    return _Moments(mean.to(x.dtype), variance.to(x.dtype), count)


@final
class _BatchNorm(Function):
    """Normalise by given moments, with the gradient that they, too, depend on all rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moments: _Moments, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *moments)
        ctx.eps = eps
        if not x.numel():
            return torch.empty_like(x)
        return functional.batch_norm(x, *moments[:2], weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, mean, variance, count = ctx.saved_tensors
        if x.numel():
            # As if the moments were given: the gradient, and its sums with x-hat and alone.
            straight, with_x, alone = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True] * 3
            )
        else:
            straight, with_x, alone = torch.zeros_like(x), *torch.zeros_like(mean).repeat(2, 1)
        sums = torch.stack([with_x, alone])
        distributed.all_reduce(sums)
        inverse = (variance + ctx.eps).rsqrt()
        through_variance, through_mean = -weight * inverse * sums / count.to(x.dtype)
        shape = (1, -1, *[1] * (x.dim() - 2))
        straight += through_mean.view(shape)
        straight.addcmul_(x - mean.view(shape), (through_variance * inverse).view(shape))
        return straight, with_x, alone, None, None
