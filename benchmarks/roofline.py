"""The least time that a training step takes on a device: bytes / bandwidth + FLOP / matrix rate.

The rates are measured in the same run. Both times are added, not the larger one taken: most bytes
are moved by batch normalisation, which multiplies no matrices meanwhile. Counted from the shapes of
a network on the "meta" device, for an image and a view, b bytes an element:

    convolution   forward    in + out               2 K in each element of out  (K: weights of one)
                  backward   2 out + 2 in           twice that; the first layer needs no gradient
                                                    of its input: out + in, once
    batch norm    forward    2 in + out             statistics first, then the values
                  backward   4 in + out             sums over gradient and input first
    optimiser     28 bytes a weight                 weight, gradient, two moments; three written

b is 2 in the backbone (bfloat16) and 4 in the frequency enhancement (float32). Not counted, because
a perfect implementation hides them in what is: rectifiers, additions of shortcuts, weights, losses.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from owdfa.methods.base import Method


class Rates(NamedTuple):
    """Of one device."""

    copy: float  # bytes a second, read and written
    bfloat16: float  # FLOP a second of a matrix product
    float32: float  # the same, without TF32


class Work(NamedTuple):
    """What must be done."""

    num_bytes: float = 0
    matrix: float = 0  # FLOP in bfloat16
    plain: float = 0  # FLOP in float32

    def plus(self, other: "Work", times: float = 1) -> "Work":
        """This, and the other so many times."""
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))

    def seconds(self, rates: Rates) -> tuple[float, float]:
        """Least time for the bytes, and for the products."""
        computing = self.matrix / rates.bfloat16 + self.plain / rates.float32
        return self.num_bytes / rates.copy, computing


def count_step(method: Method, *, batch: int, size: int, views: int = 2) -> Work:
    """Count the work of a step of CAL, which is not run."""
    image = _layers(method.backbone, size, 2)
    ffe = getattr(method, "ffe", None)
    if ffe is not None:
        # Three channels are transformed and one back, by two products each; the way back, again.
        products, passes = 2 * 3 + 2 + 2, 4 * 3 + 4 + 4
        image = image.plus(_layers(ffe.mask, size, 4))
        image = image.plus(Work(4 * passes * size**2, 0, products * 2 * size**3))
    weights = sum(each.numel() for each in method.parameters() if each.requires_grad)
    return Work(28 * weights).plus(image, batch * views)


def _layers(network: nn.Module, size: int, width: int) -> Work:
    """Forward and backward of all convolutions and batch norms, for one image."""
    found: list[tuple[nn.Module, int, int]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((module, inputs[0].numel(), output.numel()))

    shadow = deepcopy(network).to("meta")
    for module in shadow.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(note)
    with torch.no_grad():
        shadow(torch.empty((1, 3, size, size), device="meta"))
    total, first = Work(), True
    for module, before, after in found:
        if isinstance(module, nn.BatchNorm2d):
            total = total.plus(Work(width * 8 * after))
            continue
        passes = 2 if first else 3
        flop = passes * 2 * after * module.weight[0].numel()  # type: ignore[operator, index]
        num_bytes = width * passes * (before + after)
        total = total.plus(Work(num_bytes, flop) if width == 2 else Work(num_bytes, 0, flop))
        first = False
    return total
