"""Small residual networks for small images, made to be trained from scratch on a CPU.

The traces of a generator are faint and lie in the finest frequencies, where a network that starts
from random weights takes long to learn. The input is therefore the image and its residuals under
four fixed high-pass filters, clipped at the amplitude of content, as in forensic models of noise
residuals (Fridrich and Kodovsky, IEEE TIFS 2012). Then comes a residual network (He et al., CVPR
2016, arXiv:1512.03385) of three stages at a half, a quarter and an eighth of the resolution, and a
1 x 1 convolution to many channels: with few, novel classes have no direction that the known ones
do not take (docs/methods/cal-tiny.md).
"""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from owdfa.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, check_model
from owdfa.errors import UserError
from owdfa.weights import load_weights

_BLOCKS = {"trace8": 1, "trace14": 2}  # residual blocks a stage
_WIDTHS = (16, 24, 32)  # channels of the first stage; each of the other two doubles them
_EMBEDDING = 16  # channels of the feature map over those of the first stage
_SECOND = ((0, 0, 0), (1, -2, 1), (0, 0, 0))
_SQUARE = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
_LAPLACE = ((0, -1, 0), (-1, 4, -1), (0, -1, 0))
_GAIN, _CUT = 10.0, 3.0  # in units of the normalised image: clipped at some 17 grey levels of 255


def names() -> list[str]:
    """Names of the models, e.g. ``trace8w16``: 8 layers, 16 channels in the first stage."""
    return [f"{depth}w{width}" for depth in _BLOCKS for width in _WIDTHS]


def build(model: str, *, weights: str | None) -> Backbone:
    """Build a model, see :func:`owdfa.backbones.base.build`."""
    check_model("tiny", model, names())
    if weights == "hub":
        raise UserError(f"backbone tiny/{model}: has no weights on a hub; leave --weights out")
    depth, _, width = model.partition("w")
    network = _network(_BLOCKS[depth], int(width))
    if weights is not None:
        load_weights(network, Path(weights))
    stages = ("stage1", "stage2", "stage3")
    return Backbone(f"tiny/{model}", network, IMAGENET_MEAN, IMAGENET_STD, stages)


def _network(num_blocks: int, width: int) -> nn.Module:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["residuals"] = Residuals()
    stages["stem"] = _convolution(15, width, size=5, stride=2)
    for number, (before, after) in enumerate(pairwise((width, width, 2 * width, 4 * width)), 1):
        first = Block(before, after, stride=1 if number == 1 else 2)
        rest = [Block(after, after) for _ in range(num_blocks - 1)]
        stages[f"stage{number}"] = nn.Sequential(first, *rest)
    stages["embedding"] = _convolution(4 * width, _EMBEDDING * width, size=1)
    return nn.Sequential(stages)


@final
class Residuals(nn.Module):
    """Append four high-pass residuals of each colour, amplified and clipped, to the image."""

    def __init__(self) -> None:
        super().__init__()
        second = torch.tensor(_SECOND) / 2
        square, laplace = torch.tensor(_SQUARE) / 4, torch.tensor(_LAPLACE) / 4
        bank = torch.stack([second, second.T, square, laplace])
        self.filters: Tensor
        self.register_buffer("filters", bank[:, None].repeat(3, 1, 1, 1))
        # Mostly zeros, yet one full convolution, which gives the image as well, is faster than
        # three grouped ones and a concatenation.
        full = torch.einsum("cd,kyx->ckdyx", torch.eye(3), _GAIN * bank).flatten(0, 1)
        image = torch.zeros(3, 3, 3, 3)
        image[:, :, 1, 1] = torch.eye(3)
        self.full: Tensor
        self.register_buffer("full", torch.cat([image, full]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, H, W) into (B, 15, H, W)."""
        # All that follows keeps this memory format: twice as fast on a CPU for few channels.
        images = images.contiguous(memory_format=torch.channels_last)
        maps = conv2d(pad(images, (1, 1, 1, 1), mode="reflect"), self.full)
        # The image itself is within 2.7; clipping it with the rest is three times as fast.
        return maps.clamp_(-_CUT, _CUT)


@final
class Block(nn.Module):
    """Two convolutions and a shortcut, which is a 1 x 1 convolution where the size changes."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            convolution = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Turn a map (B, before, h, w) into one (B, after, h / stride, w / stride)."""
        summed: Tensor = self.residual(x)
        return summed.add_(self.shortcut(x)).relu_()


def _convolution(before: int, after: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
