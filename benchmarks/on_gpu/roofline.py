"""The least time that a training step of a network takes on a device.

    time >= bytes / copy bandwidth + FLOP / matrix rate,        for each phase of the step

Both rates are measured in the same run. The two are added, not the larger one taken: most of the
bytes are moved by batch normalisation, which multiplies no matrices meanwhile. Counted from the
shapes of a network that stands on the "meta" device, per image and view, b bytes an element:

    convolution   forward    in + out               2 K in each element of out  (K: weights of one)
                  backward   2 out + 2 in           twice that; the first layer needs no gradient
                                                    of its input: out + in, once
    batch norm    forward    2 in + out             statistics first, then the values
                  backward   4 in + out             sums over gradient and input first
    optimiser     28 bytes a weight                 weight, gradient, two moments; three written

b is 2 under bfloat16 and 4 in the frequency enhancement. Not counted, because a perfect
implementation hides them in what is: rectifiers, additions of shortcuts, weights, the head, losses.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.on_gpu.rates import Rates
from owdfa.layers import FrequencyEnhancement

_ADAM = 28  # float32: read weight, gradient and two moments; write weight and moments


class Work(NamedTuple):
    """What a phase must do."""

    num_bytes: float = 0
    matrix: float = 0  # FLOP in the precision of autocast
    plain: float = 0  # FLOP in float32

    def plus(self, other: "Work") -> "Work":
        """Both, one after the other."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> "Work":
        """The same, so many times."""
        return Work(*(factor * each for each in self))

    def seconds(self, rates: Rates, *, half: bool) -> tuple[float, float]:
        """Least time for the bytes, and for the products."""
        matrix = self.matrix / (rates.bfloat16 if half else rates.float32)
        return self.num_bytes / rates.copy, matrix + self.plain / rates.float32


class Step(NamedTuple):
    """The phases of a training step that do any work to speak of."""

    forward: Work
    backward: Work
    optimiser: Work

    def total(self) -> Work:
        """The whole step."""
        return self.forward.plus(self.backward).plus(self.optimiser)


def count(method: nn.Module, *, batch: int, size: int, views: int = 2, half: bool = True) -> Step:
    """Count the work of a step; ``method`` has a ``backbone`` and maybe an ``ffe``.

    Args:
        method: On any device; it is not run.
        batch: Images a step.
        size: Side of the views in pixels.
        views: Of each image.
        half: Whether the backbone's activations take two bytes an element.
    """
    width = 2 if half else 4
    forward, backward = _layers(method.backbone, (1, 3, size, size), width)
    if method.ffe is not None:
        ahead, back = _enhancement(method.ffe, size)
        forward, backward = forward.plus(ahead), backward.plus(back)
    weights = sum(each.numel() for each in method.parameters() if each.requires_grad)
    images = batch * views
    return Step(forward.times(images), backward.times(images), Work(_ADAM * weights))


def _layers(network: nn.Module, shape: tuple[int, ...], width: int) -> tuple[Work, Work]:
    """Forward and backward of all convolutions and batch norms, for one image."""
    found: list[tuple[nn.Module, int, int]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((module, inputs[0].numel(), output.numel()))

    shadow = _shadow(network)
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(note) for m in shadow.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        shadow(torch.empty(shape, device="meta"))
    for hook in hooks:
        hook.remove()
    forward, backward = Work(), Work()
    for place, (module, before, after) in enumerate(found):
        if isinstance(module, nn.Conv2d):
            flop = 2 * after * module.weight[0].numel()
            passes = 1 if place == 0 else 2
            forward = forward.plus(_work(width, before + after, flop))
            backward = backward.plus(_work(width, passes * (before + after), passes * flop))
        else:
            forward = forward.plus(Work(width * 3 * after))
            backward = backward.plus(Work(width * 5 * after))
    return forward, backward


def _work(width: int, elements: int, flop: float) -> Work:
    return Work(width * elements, flop) if width == 2 else Work(width * elements, 0, flop)


def _enhancement(ffe: FrequencyEnhancement, size: int) -> tuple[Work, Work]:
    """The convolutions of the mask, and the transforms as matrix products, all in float32.

    Three channels are transformed, one is transformed back, each by two products; backward only the
    way back has a gradient.
    """
    forward, backward = _layers(ffe.mask, (1, 3, size, size), 4)
    pixels, product = size**2, 2 * size**3
    forward = forward.plus(Work(4 * (4 * 3 + 4) * pixels, 0, (2 * 3 + 2) * product))
    return forward, backward.plus(Work(4 * 4 * pixels, 0, 2 * product))


def _shadow(network: nn.Module) -> nn.Module:
    """A copy that has shapes and no numbers, and is not compiled."""
    shadow = deepcopy(network).to("meta")
    for module in shadow.modules():
        vars(module).pop("forward", None)
    return shadow
