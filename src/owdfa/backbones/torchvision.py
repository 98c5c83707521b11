"""Networks of torchvision."""

from collections import OrderedDict
from pathlib import Path

import torchvision
from torch import nn

from owdfa.backbones.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    check_model,
    unavailable,
)
from owdfa.weights import load_weights

# Families that are one chain of layers, so that the classifier can be removed by its name.
_FAMILIES = (
    *("alexnet", "convnext", "efficientnet", "mnasnet", "mobilenet", "regnet"),
    *("resnet", "resnext", "shufflenet", "squeezenet", "vgg", "wide_resnet"),
)
_NOT_FEATURES = ("avgpool", "fc", "classifier")


def names() -> list[str]:
    """Names of the models."""
    models: list[str] = torchvision.models.list_models(module=torchvision.models)
    return [model for model in models if model.startswith(_FAMILIES)]


def build(model: str, *, weights: str | None) -> Backbone:
    """Build a model, see :func:`owdfa.backbones.base.build`."""
    name = f"torchvision/{model}"
    check_model("torchvision", model, names())
    try:
        whole = torchvision.models.get_model(model, weights="DEFAULT" if weights == "hub" else None)
    except OSError as error:
        raise unavailable(name, error) from error
    parts = OrderedDict((n, part) for n, part in whole.named_children() if n not in _NOT_FEATURES)
    network = nn.Sequential(parts)
    if weights not in (None, "hub"):
        load_weights(network, Path(weights))
    stages = [n for n in ("layer1", "layer2", "layer3") if n in parts]  # of the ResNet family
    return Backbone(name, network, IMAGENET_MEAN, IMAGENET_STD, stages)
