"""Convolutions that take another way in a training on a CPU compute what they did before."""

import copy

import pytest
import torch
from torch import nn

from owdfa.backbones.base import build
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import load_settings
from owdfa.training import convolutions, winograd
from owdfa.training.convolutions import Pointwise, Winograd, quicken
from owdfa.training.fast import make_fast
from owdfa.training.winograd import convolved
from small_networks import batch


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolutions_have_the_gradients_of_plain_ones(stride, bias, layout):
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 260, 1, stride, bias=bias).double().to(memory_format=layout)
    quick = copy.deepcopy(plain)
    quicken(quick)
    assert type(quick) is Pointwise
    maps = torch.randn(2, 256, 5, 6, dtype=torch.float64).to(memory_format=layout)
    answers = []
    for layer in (plain, quick):
        given = maps.clone().requires_grad_()
        found = layer(given)
        slope = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
        slopes = torch.autograd.grad(found, [given, *layer.parameters()], slope)
        answers.append([found.detach(), *slopes])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("asked", ["maps", "weight"])
def test_pointwise_convolutions_make_the_gradients_that_are_asked_for(asked):
    layer = nn.Conv2d(256, 256, 1).requires_grad_(asked == "weight")
    quicken(layer)
    maps = torch.randn(2, 256, 2, 2, requires_grad=asked == "maps")
    layer(maps).sum().backward()
    assert (maps.grad is not None) == (asked == "maps")
    assert (layer.weight.grad is not None) == (asked == "weight")


@pytest.mark.parametrize(
    "changed",
    [{"kernel_size": 2}, {"padding": 1}, {"groups": 2}, {"in_channels": 128}],
)
def test_other_convolutions_are_left(changed):
    given = {"in_channels": 256, "out_channels": 256, "kernel_size": 1, **changed}
    layer = nn.Conv2d(**given)
    quicken(layer)
    assert type(layer) is nn.Conv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("images", "side", "taken"), [(4, 8, True), (1, 8, False), (6, 7, False), (64, 2, True)]
)
def test_maps_of_other_sizes_take_the_direct_way(monkeypatch, images, side, taken, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(256, 256, 3, padding=1, bias=bias)
    network = nn.Sequential(copy.deepcopy(layer))
    quicken(network)
    calls = []

    def counted(*arguments):
        calls.append(1)
        return convolved(*arguments)

    monkeypatch.setattr(convolutions, "convolved", counted)
    maps = torch.randn(images, 256, side, side)
    torch.testing.assert_close(network(maps), layer(maps), rtol=1e-4, atol=1e-5)
    assert bool(calls) == taken


def resnet_18():
    torch.manual_seed(0)
    return CAL(build("torchvision/resnet18"), 3, None, CALSettings(dropout=0.0)).train()


def step(method):
    """Losses, gradients and statistics of a step, in float64: where rounding is not magnified."""
    method.double()
    given = batch([0, 1, -1, -1, 2, -1, -1, 0], size=64)
    views = tuple(view.double() for view in given.views)
    losses = method.losses(Batch(views, given.labels, given.rows), Progress(6, 10))
    losses.total.backward()
    return {"loss": losses.total.detach(), **method.state_dict(), **slopes_of(method)}


def slopes_of(method):
    return {name: each.grad for name, each in method.named_parameters() if each.grad is not None}


def test_a_training_on_a_cpu_takes_it_and_keeps_names_losses_and_gradients(monkeypatch):
    monkeypatch.setattr(winograd, "_VALUES", 1)  # maps of 4x4 and 2x2
    plain, quick = resnet_18(), resnet_18()
    make_fast(quick, load_settings(None, None, ["device=cpu"]), torch.device("cpu"))
    kinds = [type(layer) for layer in quick.modules()]
    assert (kinds.count(Winograd), kinds.count(Pointwise)) == (6, 1)
    assert list(quick.state_dict()) == list(plain.state_dict())
    expected, found = step(plain), step(quick)
    assert len(slopes_of(quick)) == len(slopes_of(plain)) > 60
    for name, value in expected.items():
        scale = float(value.double().norm())
        assert float((found[name] - value).double().norm()) <= 1e-9 * scale, name


@pytest.mark.parametrize(
    ("override", "changed"), [("precision=bf16-mixed", set()), ("compile=true", {Pointwise})]
)
def test_in_bfloat16_layers_are_left_and_compiled_those_1x1_alone_change(
    monkeypatch, override, changed
):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    method = resnet_18()
    settings = load_settings(None, None, ["device=cpu", "deterministic=false", override])
    make_fast(method, settings, torch.device("cpu"))
    assert {type(layer) for layer in method.modules()} & {Winograd, Pointwise} == changed


def test_a_compiler_takes_convolutions_1x1_as_they_are():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(256, 256, 1), nn.ReLU(), nn.Conv2d(256, 512, 1, stride=2))
    quick = copy.deepcopy(plain)
    quicken(quick, compiled=True)
    assert [type(layer) for layer in quick] == [Pointwise, nn.ReLU, Pointwise]
    # Traced as for inductor, in one piece; inductor itself would take a minute.
    compiled = torch.compile(quick, dynamic=False, fullgraph=True, backend="aot_eager")
    images = torch.rand(2, 256, 5, 6)
    for network in (plain, compiled):
        network(images).square().sum().backward()
    expected, found = slopes_of(plain), slopes_of(quick)
    assert len(expected) == len(found) == 4
    for name, slope in expected.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-3)
