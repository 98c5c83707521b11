"""3x3 convolutions with fewer multiplications: Winograd's F(2x2, 3x3), on a CPU in full precision.

Lavin and Gray, CVPR 2016, arXiv:1509.09308: for a tile d of 4x4 values and a filter g,

    Y = Aᵀ [(G g Gᵀ) * (Bᵀ d B)] A

is 2x2 values of the convolution, for 16 multiplications in place of 36. Over all tiles and channels
they are 16 products of matrices. Sums are ordered otherwise: on the shapes of a ResNet, maps and
their gradients come nearer to double precision than oneDNN's, gradients of weights half as near.

Maps are (B, H, W, C) in memory, tiles (4, 4, B, H / 2, W / 2, C): the place in a tile comes first.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_CHANNELS = 256  # from here on products are the bill, not the way to tiles and back
_VALUES = 256  # of a channel, over all images: with fewer, the way of the weights is the bill

_Shape = tuple[int, int, int]  # B, H, W


def suits(layer: nn.Module) -> bool:
    """Whether ``layer`` is a convolution 3x3, with stride 1, one zero around, many channels.

    Half precision has too few digits for the sums of tiles.
    """
    return (
        type(layer) is nn.Conv2d
        and torch.finfo(layer.weight.dtype).bits >= 32
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.dilation == layer.padding == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.groups == 1
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
    )


def pays(images: Tensor) -> bool:
    """Whether maps (B, C, H, W) are of a size that can go this way, and should."""
    num, _, height, width = images.shape
    return height % 2 == width % 2 == 0 and num * height * width >= _VALUES


def convolved(images: Tensor, weight: Tensor) -> Tensor:
    """Convolve with stride 1 and one zero around; has a gradient, of the first order.

    Args:
        images: (B, C, H, W), H and W even; fastest with their channels last.
        weight: (D, C, 3, 3).

    Returns:
        (B, D, H, W), channels last.
    """
    found: Tensor = _Convolution.apply(images, weight)
    return found


def transformed(weight: Tensor) -> Tensor:
    """G g Gᵀ: turn filters (D, C, 3, 3) into (16, D, C)."""
    by_place = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (_filters_to_tiles(weight) @ by_place).view(16, *weight.shape[:2])


def by_transformed(images: Tensor, filters: Tensor, bias: Tensor | None) -> Tensor:
    """``convolved`` by ``transformed`` filters (16, D, C), plus ``bias``; without a gradient."""
    images = images.permute(0, 2, 3, 1)
    products = torch.bmm(_to_tiles(images), filters.transpose(1, 2))
    found = _from_tiles(products, _shape(images))
    return (found if bias is None else found.add_(bias)).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """Gradients take the same way backwards: every transform is linear, and has its adjoint."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        filters = transformed(weight)
        ctx.save_for_backward(images, filters)  # tiles, four times as large, are made again
        return by_transformed(images, filters, None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, filters = ctx.saved_tensors
        images = images.permute(0, 2, 3, 1)
        slopes = _adjoint_of_from_tiles(slope.permute(0, 2, 3, 1).contiguous())
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = _adjoint_of_to_tiles(torch.bmm(slopes, filters), _shape(images))
            of_images = of_images.permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_filters = torch.bmm(slopes.transpose(1, 2), _to_tiles(images))
            of_weight = _adjoint_of_transformed(of_filters)
        return of_images, of_weight


def _adjoint_of_transformed(filters: Tensor) -> Tensor:
    """Turn the gradient of filters (16, D, C) into that of the weight (D, C, 3, 3)."""
    _, out, channels = filters.shape
    back = _filters_to_tiles(filters).t().expand(out, 9, 16)
    return torch.bmm(back, filters.transpose(0, 1)).view(out, 3, 3, channels).permute(0, 3, 1, 2)


def _shape(images: Tensor) -> _Shape:
    num, height, width, _ = images.shape
    return num, height, width


def _filters_to_tiles(like: Tensor) -> Tensor:
    """G in both directions: (16, 9)."""
    one = like.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    return torch.kron(one, one)


def _to_tiles(images: Tensor) -> Tensor:
    """Bᵀ d B of all tiles: turn (B, H, W, C) into (16, tiles, C)."""
    num, height, width, channels = images.shape
    images = functional.pad(images, (0, 0, 1, 1, 1, 1))
    rows = images.new_empty(4, num, height // 2, width + 2, channels)
    _times_b(_every_other(images, 1, height), rows)
    tiles = images.new_empty(4, 4, num, height // 2, width // 2, channels)
    _times_b(_every_other(rows, 3, width), tiles.transpose(0, 1))
    return tiles.view(16, -1, channels)


def _every_other(values: Tensor, axis: int, length: int) -> list[Tensor]:
    """The first, second, third and fourth value of every tile along ``axis``."""
    before = (slice(None),) * axis
    return [values[(*before, slice(i, i + length - 1, 2))] for i in range(4)]


def _times_b(values: list[Tensor], into: Tensor) -> None:
    """Bᵀ along one direction. Its last row has the other sign than in the paper, as has Aᵀ's."""
    torch.sub(values[0], values[2], out=into[0])
    torch.add(values[1], values[2], out=into[1])
    torch.sub(values[2], values[1], out=into[2])
    torch.sub(values[3], values[1], out=into[3])


def _adjoint_of_to_tiles(tiles: Tensor, shape: _Shape) -> Tensor:
    """Turn the gradient of tiles (16, tiles, C) into that of the images (B, H, W, C)."""
    num, height, width = shape
    tiles = tiles.view(4, 4, num, height // 2, width // 2, -1)
    rows = tiles.new_empty(2, *tiles.shape[1:])
    _times_adjoint_of_b(tiles, 2, rows)
    images = tiles.new_empty(num, height // 2, 2, width // 2, 2, tiles.shape[-1])
    _times_adjoint_of_b(rows.transpose(0, 1), 3, images.permute(4, 2, 0, 1, 3, 5))
    return images.view(num, height, width, -1)


def _times_adjoint_of_b(tiles: Tensor, axis: int, into: Tensor) -> None:
    """What each value gets from its own tile, then from the tile beside it that reads it too.

    Args:
        tiles: (4, ...).
        axis: Of one of them, along which tiles follow each other.
        into: (2, ...): the second and third value of each tile.
    """
    beside = tiles.shape[axis + 1] - 1
    torch.sub(tiles[1], tiles[2], out=into[0]).sub_(tiles[3])
    into[0].narrow(axis, 1, beside).add_(tiles[3].narrow(axis, 0, beside))
    torch.add(tiles[1], tiles[2], out=into[1]).sub_(tiles[0])
    into[1].narrow(axis, 0, beside).add_(tiles[0].narrow(axis, 1, beside))


def _from_tiles(tiles: Tensor, shape: _Shape) -> Tensor:
    """Aᵀ m A of all tiles: turn (16, tiles, D) into (B, H, W, D)."""
    num, height, width = shape
    tiles = tiles.view(4, 4, num, height // 2, width // 2, -1)
    rows = tiles.new_empty(2, *tiles.shape[1:])
    _times_a(tiles, rows)
    images = tiles.new_empty(num, height // 2, 2, width // 2, 2, tiles.shape[-1])
    _times_a(rows.transpose(0, 1), images.permute(4, 2, 0, 1, 3, 5))
    return images.view(num, height, width, -1)


def _times_a(tiles: Tensor, into: Tensor) -> None:
    """Aᵀ along one direction."""
    torch.add(tiles[1], tiles[2], out=into[0]).add_(tiles[0])
    torch.sub(tiles[1], tiles[2], out=into[1]).add_(tiles[3])


def _adjoint_of_from_tiles(images: Tensor) -> Tensor:
    """Turn the gradient of maps (B, H, W, D) into that of tiles (16, tiles, D)."""
    num, height, width, channels = images.shape
    places = images.view(num, height // 2, 2, width // 2, 2, channels).permute(2, 4, 0, 1, 3, 5)
    rows = images.new_empty(4, *places.shape[1:])
    _times_adjoint_of_a(places, rows)
    tiles = images.new_empty(4, 4, *places.shape[2:])
    _times_adjoint_of_a(rows.transpose(0, 1), tiles.transpose(0, 1))
    return tiles.view(16, -1, channels)


def _times_adjoint_of_a(places: Tensor, into: Tensor) -> None:
    into[0].copy_(places[0])
    torch.add(places[0], places[1], out=into[1])
    torch.sub(places[0], places[1], out=into[2])
    into[3].copy_(places[1])
