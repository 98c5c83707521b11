"""The discrete cosine transform, and the mask over it that FFE learns.

Both are matrix products: a DCT of a few hundred places is faster so than through an FFT, and two
small convolutions are faster so than a library's, which is made for many channels.
"""

from functools import lru_cache
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

_MARGIN = (1, 1, 1, 1)
_STAGGER = 16  # rows a power of two apart would all fall into the same few lines of the cache
_PLACES = 1 << 14  # that the mask is computed for at a time: what it needs stays in a core's cache
_PLAIN_PLACES = 1 << 17  # the same, without a gradient


@lru_cache(maxsize=32)
def dct_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "size size"]:
    """The DCT-II of ``size`` numbers as a matrix: ``C[k, n] = 2 cos(pi k (2n + 1) / (2 size))``.

    Unnormalised, as ``scipy.fft.dct(type=2, norm=None)``. Computed in float64, then cast.
    """
    with torch.inference_mode(mode=False):  # the cached matrix must also serve a later training
        frequency = torch.arange(size, dtype=torch.float64)[:, None]
        position = 2 * torch.arange(size, dtype=torch.float64) + 1
        matrix = 2 * torch.cos(torch.pi * frequency * position / (2 * size))
        return matrix.to(device, dtype)


@lru_cache(maxsize=32)
def inverse_dct_matrix(
    size: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "size size"]:
    """The exact inverse of :func:`dct_matrix`: its transpose, each frequency scaled."""
    with torch.inference_mode(mode=False):
        scale = torch.full((size,), 1 / (2 * size), dtype=torch.float64)
        scale[0] = 1 / (4 * size)
        matrix = dct_matrix(size, torch.float64, torch.device("cpu")).T * scale
        return matrix.to(device, dtype)


def dct_2d(x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
    """Transform rows and columns, as ``scipy.fft.dctn(type=2, norm=None)`` over both."""
    h, w = x.shape[-2:]
    return dct_matrix(h, x.dtype, x.device) @ x @ dct_matrix(w, x.dtype, x.device).T


def inverse_dct_2d(x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
    """Undo :func:`dct_2d`."""
    h, w = x.shape[-2:]
    left, right = (inverse_dct_matrix(size, x.dtype, x.device) for size in (h, w))
    return left @ x @ right.T


@final
class FrequencyMask(nn.Sequential):
    """``conv(relu(conv(f)))`` over a spectrum, 3 -> 16 -> 1 channels: which frequencies count.

    On a CPU the second convolution is a matrix product, of a few images at a time: a library's is
    made for many channels. While it trains, so is the first, and the 16 maps are computed again
    rather than kept (:class:`_TwoConvolutions`).
    """

    def __init__(self, hidden: int = 16) -> None:
        first = nn.Conv2d(3, hidden, 3, padding=1)
        super().__init__(first, nn.ReLU(), nn.Conv2d(hidden, 1, 3, padding=1))

    def forward(self, spectrum: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 1 h w"]:
        """Compute the mask before its sigmoid."""
        by_hand = spectrum.device.type == "cpu" and not torch.compiler.is_compiling()
        if by_hand and not torch.is_grad_enabled():
            return self._without_gradient(spectrum)
        if by_hand and not spectrum.requires_grad:
            mask: Tensor = _TwoConvolutions.apply(spectrum, *self.parameters())
            return mask
        # Channels last: a third less time on a CPU for so few of them.
        maps = spectrum.contiguous(memory_format=torch.channels_last)
        for layer in self:
            maps = layer(maps)
        return maps

    def _without_gradient(self, spectrum: Tensor) -> Tensor:
        """As :class:`_TwoConvolutions`, with a library's first convolution."""
        *weights, bias = self.parameters()
        _, second = _matrices(*weights)
        batch, _, h, w = spectrum.shape
        mask, few = spectrum.new_zeros(batch, h + 2, w + 2), max(1, _PLAIN_PLACES // (h * w))
        for start in range(0, batch, few):
            images = spectrum[start : start + few].contiguous(memory_format=torch.channels_last)
            maps = self[0](images).relu_().permute(0, 2, 3, 1).flatten(0, 2)
            _add_to_neighbours(mask[start : start + few], second @ maps.T)
        return mask[:, None, 1:-1, 1:-1] + bias


@final
class _TwoConvolutions(torch.autograd.Function):
    """Two convolutions of 3 x 3 with a ReLU between; no gradient to the spectrum.

    ::

        hidden = relu(columns^T first)       columns: the 27 neighbours of each place, and a 1
        taps   = second hidden^T             what each place gives to its 9 neighbours
        mask   = sum of the nine, shifted

    Part by part, in the same memory: fresh pages for every part would cost more than the sums.
    """

    @staticmethod
    def forward(
        ctx: Any,
        spectrum: Tensor,
        weight_1: Tensor,
        bias_1: Tensor,
        weight_2: Tensor,
        bias_2: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(spectrum, weight_1, bias_1, weight_2)
        first, second = _matrices(weight_1, bias_1, weight_2)
        parts, padded = _Parts(spectrum), pad(spectrum, _MARGIN)
        mask = torch.zeros_like(padded[:, 0])  # its margin takes what falls outside
        columns, taps = parts.rows(len(first)), parts.rows(9)
        hidden = parts.rows(len(bias_1)).T.contiguous()
        for images, rows in parts.slices:
            part = _columns(padded[images, :, rows], columns)
            maps = torch.mm(part.T, first, out=hidden[: part.shape[1]]).relu_()
            given = torch.mm(second, maps.T, out=taps[:, : len(maps)])
            _add_to_neighbours(mask[images, rows], given)
        return mask[:, None, 1:-1, 1:-1] + bias_2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mask: Tensor) -> tuple[Tensor | None, ...]:
        spectrum, weight_1, bias_1, weight_2 = ctx.saved_tensors
        first, second = _matrices(weight_1, bias_1, weight_2)
        second = second.flip(0)  # what a place gave to its left comes back from there
        of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
        parts, padded, of_padded = _Parts(spectrum), pad(spectrum, _MARGIN), pad(of_mask, _MARGIN)
        columns, taps = parts.rows(len(first)), parts.rows(9)
        hidden, of_hidden = (parts.rows(len(bias_1)).T.contiguous() for _ in range(2))
        for images, rows in parts.slices:
            part = _columns(padded[images, :, rows], columns)
            maps = torch.mm(part.T, first, out=hidden[: part.shape[1]]).relu_()
            of_taps = _columns(of_padded[images, :, rows], taps)
            of_second.addmm_(of_taps, maps)
            of_maps = torch.mm(of_taps.T, second, out=of_hidden[: len(maps)])
            of_first.addmm_(part, of_maps.mul_(maps.sign_()))
        of_weight_1 = of_first[:-1].T.reshape(weight_1.shape)
        of_weight_2 = of_second.flip(0).T.reshape(weight_2.shape)
        return None, of_weight_1, of_first[-1], of_weight_2, of_mask.sum().reshape(1)


def _matrices(weight_1: Tensor, bias_1: Tensor, weight_2: Tensor) -> tuple[Tensor, Tensor]:
    """The first convolution as (27 + 1, hidden), its bias last; the second as (9, hidden)."""
    first = torch.cat([weight_1.flatten(1).T, bias_1[None]])
    return first, weight_2[0].flatten(1).T


@final
class _Parts:
    """Some images, or some rows of one, at a time; rows are those of maps with a margin."""

    def __init__(self, maps: Float[Tensor, "batch channels h w"]) -> None:
        batch, _, h, w = maps.shape
        num_images, num_rows = (max(1, _PLACES // count) for count in (h * w, w))
        # A process's share of a small batch may be empty.
        num_images, num_rows = min(max(1, batch), num_images), min(h, num_rows)
        self.slices = [
            (slice(image, image + num_images), slice(row, min(row + num_rows, h) + 2))
            for image in range(0, batch, num_images)
            for row in range(0, h, num_rows)
        ]
        self._room = maps.new_ones(num_images * num_rows * w + _STAGGER)

    def rows(self, count: int) -> Float[Tensor, "count places"]:
        """Fresh memory for ``count`` numbers a place, all 1."""
        return self._room.repeat(count, 1)[:, :-_STAGGER]


def _columns(
    padded: Float[Tensor, "batch channels h w"], memory: Float[Tensor, "neighbours most"]
) -> Float[Tensor, "neighbours places"]:
    """Put the 3 x 3 neighbours of each place in each channel, then what there was, into memory."""
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # (batch, channels, h, w, 3, 3)
    batch, channels, h, w = windows.shape[:4]
    found = memory[:, : batch * h * w]
    target = found[: 9 * channels].view(channels, 3, 3, batch, h, w)
    target.copy_(windows.permute(1, 4, 5, 0, 2, 3))
    return found


def _add_to_neighbours(padded: Float[Tensor, "batch h w"], taps: Float[Tensor, "9 places"]) -> None:
    """Add what each place gives to its neighbours, the last of them first."""
    batch, h, w = padded.shape
    given = taps.view(3, 3, batch, h - 2, w - 2)
    for dy in range(3):
        for dx in range(3):
            padded[:, 2 - dy : h - dy, 2 - dx : w - dx] += given[dy, dx]
