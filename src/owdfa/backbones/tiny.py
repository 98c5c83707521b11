"""Small residual networks for small images: no early down-sampling, made to train on a CPU.

The traces of a generator lie in the finest frequencies, which a network for ImageNet halves away
twice before its first block. These keep the full resolution for the first third of their layers
(He et al., CVPR 2016, arXiv:1512.03385, section 4.2) and end at a quarter of it.
"""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import final

from torch import Tensor, nn

from owdfa.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, check_model
from owdfa.errors import UserError
from owdfa.weights import load_weights

_BLOCKS = {"resnet8": 1, "resnet14": 2, "resnet20": 3}  # a stage
_WIDTHS = (16, 32, 64)  # channels of the first stage; each of the other two doubles them


def names() -> list[str]:
    """Names of the models, e.g. ``resnet8w16``: 8 layers, 16 channels at full resolution."""
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
    return Backbone(f"tiny/{model}", network, 4 * int(width), IMAGENET_MEAN, IMAGENET_STD)


def _network(num_blocks: int, width: int) -> nn.Module:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["stem"] = nn.Sequential(_convolution(3, width), nn.BatchNorm2d(width), nn.ReLU())
    widths = (width, width, 2 * width, 4 * width)
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        first = Block(before, after, stride=1 if number == 1 else 2)
        rest = [Block(after, after) for _ in range(num_blocks - 1)]
        stages[f"stage{number}"] = nn.Sequential(first, *rest)
    return nn.Sequential(stages)


@final
class Block(nn.Module):
    """Two convolutions and a shortcut, which is a 1 x 1 convolution where the size changes."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(before, after, stride),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _convolution(after, after),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            convolution = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Turn a map (B, before, h, w) into one (B, after, h / stride, w / stride)."""
        summed: Tensor = self.residual(x) + self.shortcut(x)
        return summed.relu()


def _convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return convolution
