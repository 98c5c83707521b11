"""A backbone library from outside: one small network, without batch normalisation."""

from torch import nn

from owdfa.backbones.base import Backbone

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def names():
    return ["small"]


def build(model, *, weights):
    assert model == "small"
    assert weights is None
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1)
    )
    return Backbone("outside.plain/small", network, MEAN, STD)
