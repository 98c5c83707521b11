"""Convolutions by products of matrices, where they are faster: training on a CPU, in float32.

Sums are ordered otherwise; nothing else changes.
"""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from owdfa.training.winograd import convolved, pays, suits

_WEIGHTS = 256 * 256  # of a convolution 1x1: with fewer, both ways are the same


def quicken(network: nn.Module, *, compiled: bool = False) -> None:
    """Let the convolutions of ``network`` that gain by it go another way, in place.

    They stay the same objects, with the same weights, names and hooks.

    Args:
        network: To be changed.
        compiled: It will be compiled: Winograd's way, in parts that fit a cache, is then slower.
    """
    for layer in network.modules():
        if suits(layer) and not compiled:
            layer.__class__ = Winograd
        elif _is_pointwise(layer):
            layer.__class__ = Pointwise


@final
class Winograd(nn.Conv2d):
    """A convolution that ``suits`` Winograd's way, and takes it where the size of its maps pays."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn maps (B, C, H, W) into maps (B, D, H, W)."""
        if not pays(images):
            return super().forward(images)
        return _plus(convolved(images, self.weight), self.bias)


@final
class Pointwise(nn.Conv2d):
    """A convolution 1x1 whose gradients are products of matrices: oneDNN's take a fifth longer."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn maps (B, C, H, W) into maps (B, D, h, w)."""
        maps: Tensor = _Pointwise.apply(images, self.weight, self.stride)
        return _plus(maps, self.bias)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return functional.conv2d(images, weight, stride=stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        down, right = ctx.stride
        read = images.permute(0, 2, 3, 1)[:, ::down, ::right]  # (B, h, w, C)
        slopes = slope.permute(0, 2, 3, 1).reshape(-1, len(weight))  # (B h w, D)
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = (slopes @ weight.flatten(1)).view(read.shape)
            if ctx.stride != (1, 1):
                whole = slope.new_zeros(images.permute(0, 2, 3, 1).shape)
                whole[:, ::down, ::right] = of_images
                of_images = whole
            of_images = of_images.permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_weight = (slopes.t() @ read.reshape(-1, images.shape[1])).view_as(weight)
        return of_images, of_weight, None


def _is_pointwise(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == layer.dilation == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
        and layer.in_channels * layer.out_channels >= _WEIGHTS
    )


def _plus(maps: Tensor, bias: Tensor | None) -> Tensor:
    return maps if bias is None else maps + bias[:, None, None]
