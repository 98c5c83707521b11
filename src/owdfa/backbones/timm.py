"""Networks of timm (PyTorch image models)."""

from pathlib import Path

import timm
from timm.data import resolve_model_data_config

from owdfa.backbones.base import Backbone, check_model, num_channels, unavailable
from owdfa.weights import load_weights


def names() -> list[str]:
    """Names of the models; a tag of pre-trained weights may follow one after a dot."""
    models: list[str] = timm.list_models()
    return models


def build(model: str, *, weights: str | None) -> Backbone:
    """Build a model, see :func:`owdfa.backbones.base.build`."""
    name = f"timm/{model}"
    check_model("timm", model.partition(".")[0], names())
    try:
        network = timm.create_model(
            model, pretrained=weights == "hub", num_classes=0, global_pool=""
        )
    except Exception as error:  # the hub's client raises what it likes
        raise unavailable(name, error) from error
    if weights not in (None, "hub"):
        load_weights(network, Path(weights))
    data = resolve_model_data_config(network)
    return Backbone(name, network, num_channels(name, network), data["mean"], data["std"])
