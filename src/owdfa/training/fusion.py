"""Convolution, sum and ReLU in one pass over memory, by oneDNN: for prediction on a CPU alone.

A map is written once, where three layers write it, read it and write it again. torch's compiler
calls the same operators. They have no public name: where a torch lacks them, a network is left as
it is.
"""

import operator
from collections.abc import Callable
from itertools import takewhile
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from owdfa.training.winograd import by_transformed, pays, suits, transformed
from owdfa.weights import Undrawn

_OPERATORS: Any = torch.ops.mkldnn
_SUMS: tuple[Callable[..., object] | str, ...] = (operator.add, operator.iadd, "add", "add_")
_RELUS: tuple[Callable[..., object] | str, ...] = (functional.relu, torch.relu, "relu", "relu_")


@final
class Fused(nn.Module):
    """A convolution with zeros around the image, and what follows it: a sum, a ReLU."""

    def __init__(self, layer: nn.Conv2d, *, relu: bool, in_place: bool = False) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)
        self.relu = relu
        self.in_place = in_place  # the sum may be put where the other map is
        self.where = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self.weight: Tensor
        self.register_buffer("weight", layer.weight.detach())
        self.bias: Tensor | None
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.filters: Tensor | None
        self.register_buffer("filters", transformed(self.weight) if suits(layer) else None)

    def forward(self, images: Tensor, other: Tensor | None = None) -> Tensor:
        """Turn maps (B, C, H, W) into maps (B, D, h, w), to which ``other`` is added."""
        images = images.to(self.weight.dtype)
        if self.filters is not None and pays(images):
            return self._followed(by_transformed(images, self.filters, self.bias), other)
        if other is None:
            return self._convolved(images, "relu" if self.relu else "none")
        if other.shape != self._shape(images):  # one of them is spread over the other
            return self._followed(self._convolved(images, "none"), other)
        after = "relu" if self.relu else None
        other = other.to(images.dtype)
        rest: Any = (self.weight, self.bias, *self.where, "add", None, after, [], None)
        found: Tensor
        if self.in_place:
            found = _OPERATORS._convolution_pointwise_.binary(other, images, *rest)
        else:
            found = _OPERATORS._convolution_pointwise.binary(images, other, *rest)
        return found

    def _convolved(self, images: Tensor, after: str) -> Tensor:
        found: Tensor = _OPERATORS._convolution_pointwise(
            images, self.weight, self.bias, *self.where, after, [], None
        )
        return found

    def _followed(self, maps: Tensor, other: Tensor | None) -> Tensor:
        total = maps if other is None else maps + other
        return total.relu_() if self.relu else total

    def _shape(self, images: Tensor) -> tuple[int, ...]:
        """Shape of the result."""
        padding, stride, dilation, _ = self.where
        sizes = zip(images.shape[2:], self.weight.shape[2:], padding, stride, dilation, strict=True)
        sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, p, s, d in sizes]
        return (len(images), len(self.weight), *sides)


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether torch has oneDNN, and its operators do what is expected of them on this processor."""
    with Undrawn():  # drawing would move the caller's generator
        layer = nn.Conv2d(2, 2, 1)
    for values in layer.parameters():
        nn.init.ones_(values)
    layer.to(dtype)
    images = torch.ones(1, 2, 2, 2, dtype=dtype).to(memory_format=torch.channels_last)
    try:
        fresh = Fused(layer, relu=True)(images, images)
        again = Fused(layer, relu=True, in_place=True)(images, images.clone())
        return torch.equal(fresh, 4 * images) and torch.equal(again, fresh)
    except (RuntimeError, AttributeError, TypeError):
        return False


def fuse(traced: GraphModule) -> None:
    """Let the convolutions of a network do the sums and ReLUs that follow them, in place.

    Args:
        traced: In evaluation mode; its weights are not going to change.
    """
    layers, graph = dict(traced.named_modules()), traced.graph
    for node in list(graph.nodes):
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if type(layer) is not nn.Conv2d or not _is_plain(layer, node):
            continue
        total = _sum_after(node)
        relu = _relu_after(total or node, layers)
        if total is None and relu is None:
            continue
        others = [] if total is None else [arg for arg in total.all_input_nodes if arg is not node]
        in_place = total is not None and _is_free(others[0], total, layers)
        layers[str(node.target)] = Fused(layer, relu=relu is not None, in_place=in_place)
        traced.set_submodule(str(node.target), layers[str(node.target)])
        with graph.inserting_after(total or node):  # where the other map is known
            fused = graph.call_module(str(node.target), (node.args[0], *others))
        (relu or total or node).replace_all_uses_with(fused)
        for done in (relu, total, node):
            if done is not None:
                graph.erase_node(done)


def is_called_once(node: Node) -> bool:
    """Whether the layer that ``node`` calls is called nowhere else."""
    return [other.target for other in node.graph.nodes].count(node.target) == 1


def only_reader(node: Node) -> Node | None:
    """What reads the result of ``node``, when it is one alone."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_plain(layer: nn.Conv2d, node: Node) -> bool:
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return zeros and len(node.args) == 1 and is_called_once(node)


def _sum_after(node: Node) -> Node | None:
    """The sum of the result of ``node`` and another map, when nothing else reads that result.

    The convolution is put off until the other map is there, so nothing else may change what it
    reads; and a sum in place must not be made in the other map, which others may read.
    """
    total, source = only_reader(node), node.args[0]
    if total is None or not _is_one(total, _SUMS) or len(total.args) != 2 or total.kwargs:
        return None
    others = [arg for arg in total.args if isinstance(arg, Node) and arg is not node]
    in_place = total.target in (operator.iadd, "add_")
    if len(others) != 1 or (in_place and total.args[0] is not node):
        return None
    return total if isinstance(source, Node) and only_reader(source) is node else None


def _is_free(other: Node, total: Node, layers: dict[str, nn.Module]) -> bool:
    """Whether nothing reads ``other`` once ``total`` has, so that the sum may take its memory.

    Convolutions make maps of their own and keep none: one made it, and those alone read it before.
    """
    before = set(takewhile(lambda node: node is not total, total.graph.nodes))
    readers = [user for user in other.users if user is not total]
    called = [n.op == "call_module" and type(layers[str(n.target)]) for n in (other, *readers)]
    return all(kind in (nn.Conv2d, Fused) for kind in called) and all(
        reader in before and other not in reader.args[1:] for reader in readers
    )


def _relu_after(node: Node, layers: dict[str, nn.Module]) -> Node | None:
    """The ReLU of the result of ``node``, when nothing else reads that result."""
    relu = only_reader(node)
    if relu is None:
        return None
    is_layer = relu.op == "call_module" and type(layers[str(relu.target)]) is nn.ReLU
    return relu if is_layer or _is_one(relu, _RELUS) else None


def _is_one(node: Node, functions: tuple[Callable[..., object] | str, ...]) -> bool:
    return node.op in ("call_function", "call_method") and node.target in functions
