"""What a backbone is: images in, one feature map out, and how its images are to be normalised."""

from difflib import get_close_matches
from typing import final

import torch
from torch import Tensor, nn

from owdfa import catalog
from owdfa.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@final
class Backbone(nn.Module):
    """A network without its pooling and classifier.

    Attributes:
        name: ``<library>/<model>``, e.g. ``"timm/resnet50.a1_in1k"``.
        channels: Number of channels of the feature map.
        mean, std: Per colour channel, for images in [0, 1].
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        channels: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.channels = channels
        self.mean = mean
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, H, W) into a feature map (B, channels, h, w)."""
        features: Tensor = self.network(images)
        return features


def build(name: str, weights: str | None = None) -> Backbone:
    """Build ``<library>/<model>`` with the library's module in ``owdfa/backbones/``.

    Args:
        name: E.g. ``"timm/resnet50"``.
        weights: None for random ones, ``"hub"`` for the library's pre-trained ones, or a file
            (safetensors, or a state dict that torch saved).

    Raises:
        UserError: There is no such library or model, it gives no feature map, or the weights cannot
            be had or do not fit.
    """
    library, slash, model = name.partition("/")
    if not slash:
        raise UserError(f"backbone {name!r}: write it as library/model, e.g. timm/resnet50")
    module = catalog.load("backbones", library)
    backbone: Backbone = module.build(model, weights=weights)
    return backbone


def check_model(library: str, model: str, models: list[str]) -> None:
    """Raise a ``UserError`` that names the nearest model when ``model`` is not among them."""
    if model not in models:
        near = get_close_matches(model, models, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "owdfa backbones lists the libraries"
        raise UserError(f"no backbone named {library}/{model}; {remedy}")


def unavailable(name: str, error: Exception) -> UserError:
    """Say that a library's pre-trained weights cannot be had, and what to do."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"backbone {name}: its pre-trained weights cannot be had ({reason});"
        " when offline, name a file of them with --weights FILE"
    )


def num_channels(name: str, network: nn.Module) -> int:
    """Find the number of channels of a network's feature map by trying it on a blank image.

    Raises:
        UserError: What comes out is not a feature map (B, channels, h, w).
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            features = network(torch.zeros(1, 3, 64, 64))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"backbone {name}: does not take images of any size ({reason})") from error
    finally:
        network.train(was_training)
    # A square image gives a square map; with the channels last it does not look like one.
    if features.dim() != 4 or features.shape[2] != features.shape[3]:
        raise UserError(f"backbone {name}: gives no feature map; choose a convolutional network")
    return int(features.shape[1])
