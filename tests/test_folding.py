"""A folded network says the same as the one it was made of."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from owdfa.backbones.base import build
from owdfa.training import folding, fusion, winograd
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


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "name", ["tiny/trace8w16", "torchvision/resnet18", "timm/convnext_atto", "fickle"]
)
def test_in_bfloat16_folded_networks_say_what_autocast_says(name, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(folding, "available", lambda _: False)
    network = trained(Fickle() if name == "fickle" else build(name).network)
    images = torch.randn(3, 3, 32, 32)
    before = [values.clone() for values in network.state_dict().values()]
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            expected = network(images).float()
            found = folded(network, torch.bfloat16)(images).float()
    error, usual = (found - exact).norm(), (expected - exact).norm()
    assert 0 < error < 1.5 * usual
    assert usual < 0.05 * exact.norm()
    after = network.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("network", [Twice(), Fickle()], ids=["twice", "fickle"])
def test_what_cannot_be_folded_is_left(network):
    trained(network)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        found = folded(network)
        assert torch.allclose(found(images), expected, atol=1e-5)
    assert num_norms(found) == num_norms(network) > 0


class Sums(nn.Module):
    """Sums with a map that a convolution made and another reads, and what else reads it."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.one, self.two, self.three, self.four = (nn.Conv2d(3, 3, 3, padding=1) for _ in "1234")

    def forward(self, x):
        return getattr(self, self.how)(torch.relu(self.one(x)))

    def free(self, x):
        return torch.relu(self.three(self.two(x)) + x)

    def free_again(self, x):
        x = torch.relu(self.three(self.two(x)) + x)
        return self.four(x) + x

    def read_later(self, x):
        y = torch.relu(self.three(self.two(x)) + x)
        return torch.cat([y, self.four(x)])

    def seen_later(self, x):
        seen = x[:1]
        return torch.relu(self.three(self.two(x)) + x) + seen

    def given_back(self, x):
        return torch.relu(self.three(self.two(x)) + x), x


@pytest.mark.parametrize(
    ("how", "num"),
    [("free", 1), ("free_again", 1), ("read_later", 0), ("seen_later", 0), ("given_back", 0)],
)
def test_a_sum_takes_the_memory_of_a_map_that_nothing_reads_any_more(how, num):
    torch.manual_seed(0)
    network, images = Sums(how).eval(), torch.randn(2, 3, 8, 8)
    found = folded(network)
    with torch.no_grad():
        torch.testing.assert_close(found(images), network(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found(images), network(images), rtol=1e-4, atol=1e-5)
    assert sum(getattr(layer, "in_place", False) for layer in found.modules()) == num


class Shortcuts(nn.Module):
    """Sums and ReLUs as networks write them; ``how`` says which."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.first(x))
        return getattr(self, self.how)(x)

    def layer(self, x):
        y = self.second(x * 1)
        y += x
        return self.relu(y)

    def function(self, x):
        return functional.relu(x + self.second(x * 1))

    def methods(self, x):
        return self.second(x * 1).add_(x).relu_()

    def sum_alone(self, x):
        return (self.second(x * 1) + x) * 2

    def spread(self, x):
        return torch.relu(self.second(x.mean((2, 3), keepdim=True)) + x)

    def spread_over(self, x):
        return torch.relu(self.second(x * 1) + x.mean((2, 3), keepdim=True))

    def into_the_other(self, x):
        x.add_(self.second(x * 1))
        return torch.cat([x, x * 2])

    def source_changed(self, x):
        y = self.second(x)
        x.mul_(2)
        return torch.relu(y + x)

    def read_twice(self, x):
        y = self.second(x * 1)
        return self.relu(y + x) + y

    def doubled(self, x):
        y = self.second(x * 1)
        return torch.relu(y + y)

    def number(self, x):
        return torch.relu(self.second(x * 1) + 1)

    def scaled(self, x):
        return torch.relu(torch.add(self.second(x * 1), x, alpha=-2))

    def twice(self, x):
        return torch.relu(self.second(torch.relu(self.second(x))))


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("layer", {"mul"}),
        ("function", {"mul"}),
        ("methods", {"mul"}),
        ("sum_alone", {"mul"}),
        ("spread", {"mean"}),
        ("spread_over", {"mul", "mean"}),
        ("into_the_other", {"mul", "add_", "cat"}),
        ("source_changed", {"mul_", "add", "relu"}),
        ("read_twice", {"mul", "add", "relu"}),
        ("doubled", {"mul", "add", "relu"}),
        ("number", {"mul", "add", "relu"}),
        ("scaled", {"mul", "add", "relu"}),
        ("twice", {"relu"}),
    ],
)
@pytest.mark.parametrize("side", [9, 8], ids=["direct", "winograd"])
def test_sums_and_relus_go_into_their_convolution_where_that_changes_nothing(
    how, left, side, monkeypatch
):
    torch.manual_seed(0)
    monkeypatch.setattr(winograd, "_CHANNELS", 1)
    monkeypatch.setattr(winograd, "_VALUES", 1)
    network, images = Shortcuts(how).eval(), torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = network(images)
        found = folded(network)
        assert torch.allclose(found(images), expected, atol=1e-5)
    assert fusion.available()
    nodes = found.network.graph.nodes
    names = {getattr(node.target, "__name__", str(node.target)) for node in nodes}
    assert names == left | {"x", "first", "second", "output"}


def test_without_onednn_the_layers_stay(monkeypatch):
    monkeypatch.setattr(folding, "available", lambda _: False)
    network, images = trained(build("torchvision/resnet18").network), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        found = folded(network)
        assert torch.allclose(found(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
    assert not any(isinstance(layer, fusion.Fused) for layer in found.modules())


def test_a_torch_without_these_operators_is_noticed(monkeypatch):
    monkeypatch.setattr(fusion.Fused, "forward", lambda *_: torch.ops.mkldnn.no_such_operator())
    assert not fusion.available()


def test_asking_for_the_operators_draws_nothing():
    before = torch.random.get_rng_state()
    assert fusion.available()
    assert torch.equal(torch.random.get_rng_state(), before)
