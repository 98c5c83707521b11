"""A folded network says the same as the one it was made of."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import build
from owdfa.training.folding import folded


def trained(network, channels=3):
    """With statistics that are not those of a new network."""
    torch.manual_seed(0)
    network.train()
    for _ in range(3):
        network(0.3 + 2 * torch.randn(4, channels, 32, 32))
    return network.eval()


def num_norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


class Twice(nn.Module):
    """One convolution before two normalisations, and one whose result goes to two places."""

    def __init__(self):
        super().__init__()
        self.shared, self.wide = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 8, 3)
        self.first, self.second, self.third = (nn.BatchNorm2d(n) for n in (3, 3, 8))

    def forward(self, x):
        x = self.second(self.shared(self.first(self.shared(x))))
        y = self.wide(x)
        return self.third(y) + y


class Fickle(nn.Module):
    """Does what the image says: nothing that can be traced."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x):
        return self.layers(x if x.sum() > 0 else -x)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("tiny/trace8w16", 0),
        ("torchvision/resnet18", 0),
        ("timm/test_resnet", 0),
        ("torchvision/mobilenet_v3_small", 0),
        ("timm/test_efficientnet", None),
        ("timm/convnext_atto", 0),
    ],
)
def test_folded_networks_say_the_same(name, left):
    network = trained(build(name).network)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        before = num_norms(network)
        found = folded(network)
        assert torch.allclose(found(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
        assert num_norms(network) == before  # the original keeps its layers
    if left is not None:
        assert num_norms(found) == left


@pytest.mark.parametrize("network", [Twice(), Fickle()], ids=["twice", "fickle"])
def test_what_cannot_be_folded_is_left(network):
    trained(network)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        found = folded(network)
        assert torch.allclose(found(images), expected, atol=1e-5)
    assert num_norms(found) == num_norms(network) > 0
