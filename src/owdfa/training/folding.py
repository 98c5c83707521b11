"""The same network, faster: for prediction alone."""

from collections.abc import Callable
from copy import deepcopy
from typing import final

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node, symbolic_trace
from torch.fx.proxy import TraceError
from torch.nn.utils.fusion import fuse_conv_bn_eval

from owdfa.training.fusion import available, fuse, is_called_once, only_reader


@final
class Folded(nn.Module):
    """A network whose images lie in memory with their channels last, as do all of its maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        convert: Callable[..., nn.Module] = network.to
        self.network = convert(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, H, W) into a feature map."""
        features: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return features


def folded(network: nn.Module, dtype: torch.dtype = torch.float32) -> Folded:
    """Put every batch normalisation into the convolution before it: the same up to rounding.

    Sums and ReLUs follow, where oneDNN can do them. A network that cannot be traced, since what it
    does depends on the images, keeps its layers.

    Args:
        network: Turns images into a feature map; it is in evaluation mode from then on.
        dtype: Of the convolutions. In bfloat16 the network belongs under autocast, which decides
            over all other layers.
    """
    network.eval()
    try:
        traced = symbolic_trace(network)
    except (TraceError, TypeError, ValueError, RuntimeError, AttributeError, AssertionError):
        return Folded(network)
    layers = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        before = _convolution_before(node, layers)
        if before is not None:
            convolution, norm = layers[str(before.target)], layers[node.target]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    for name, layer in list(traced.named_modules()):
        if type(layer) is nn.Conv2d and layer.weight.dtype != dtype:
            traced.set_submodule(name, deepcopy(layer).to(dtype))
    if available(dtype):
        fuse(traced)
    return Folded(_whole(traced))


def _convolution_before(node: Node, layers: dict[str, nn.Module]) -> Node | None:
    """The convolution whose result goes into the batch normalisation ``node`` and nowhere else."""
    if node.op != "call_module" or type(layers[str(node.target)]) is not nn.BatchNorm2d:
        return None
    before = node.args[0]
    if not isinstance(before, Node) or before.op != "call_module":
        return None
    alone = only_reader(before) is node and is_called_once(before)
    norm = layers[str(node.target)]
    plain = isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats
    is_convolution = type(layers[str(before.target)]) is nn.Conv2d
    return before if alone and plain and is_convolution else None


def _whole(traced: GraphModule) -> GraphModule:
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
