"""Fixed features in place of a feature map: statistics of a pre-trained network and of residuals.

Nothing here is trained, so an image's features are computed once and kept beside its crop.

    frozen/timm/tf_efficientnet_lite0    that network with its weights, and the residual
    frozen/<library>/<model>             likewise with any other network of the catalogue
    frozen/residual                      the residual alone; it has no weights

**Network**: mean and standard deviation, over places, of every channel of the map after each stage
but the last.
**Residual**: what a filter of second differences leaves of brightness and of two differences of
colours: the logarithm of its power spectrum, averaged over overlapping windows (Welch, 1967); and
of each colour the logarithm of the deviation, the skewness, the kurtosis, and correlations between
colours. Forensics has long used both (Fridrich and Kodovsky, IEEE TIFS 2012; Frank et al., ICML
2020). What each of them is worth is measured in docs/methods/frozen.md.
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from owdfa import catalog
from owdfa.backbones import base
from owdfa.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Colour, check_model
from owdfa.errors import UserError

FROZEN = True
_RESIDUAL = "residual"
_SQUARE = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
_COLOURS = ((1 / 3, 1 / 3, 1 / 3), (1, -1, 0), (0, -1, 1))  # brightness, and two differences
_WINDOW = 32  # pixels of a window of the spectrum; periods of 2, 4 and 8 are among its frequencies
_FLOOR = 1e-3  # of a power or a deviation, in grey levels: what is even has no logarithm


def names() -> list[str]:
    """``residual``, and every model of the other libraries with its library before it."""
    libraries = [name for name in catalog.names("backbones") if name != "frozen"]
    return [_RESIDUAL] + [
        f"{library}/{model}"
        for library in libraries
        for model in catalog.load("backbones", library).names()
    ]


def build(model: str, *, weights: str | None) -> Backbone:
    """Build a model, see :func:`owdfa.backbones.base.build`."""
    name = f"frozen/{model}"
    if "/" in model:
        inner = base.build(model, weights)
        return Backbone(name, Statistics(inner, inner.mean, inner.std), inner.mean, inner.std)
    check_model("frozen", model, [_RESIDUAL])
    if weights is not None:
        raise UserError(f"backbone {name}: has no weights; leave --weights out")
    network = Statistics(None, IMAGENET_MEAN, IMAGENET_STD)
    return Backbone(name, network, IMAGENET_MEAN, IMAGENET_STD)


@final
class Statistics(nn.Module):
    """Normalised images (B, 3, H, W) to features (B, F, 1, 1); always in evaluation mode."""

    is_frozen = True

    def __init__(self, inner: Backbone | None, mean: Colour, std: Colour) -> None:
        super().__init__()
        self.inner = inner
        self.residual = ResidualStatistics(mean, std)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Statistics":  # noqa: ARG002
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features, in float32 at least."""
        with torch.autocast(images.device.type, enabled=False):
            parts = self.residual(images)
            if self.inner is not None:
                # Not the last: it tells what an image shows, and not what made it.
                stages = range(max(1, len(self.inner.stage_channels) - 1))
                parts += [_mean_and_deviation(each) for each in self.inner(images, stages)]
            return torch.cat(parts, dim=1)[:, :, None, None]


def _mean_and_deviation(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, 2 C)."""
    mean = maps.mean(dim=(2, 3), keepdim=True)
    deviation = (maps - mean).square().mean(dim=(2, 3)).sqrt()
    return torch.cat([mean.flatten(1), deviation], dim=1)


@final
class ResidualStatistics(nn.Module):
    """Statistics of what a high-pass filter leaves of images, in grey levels."""

    def __init__(self, mean: Colour, std: Colour) -> None:
        super().__init__()
        angle = 2 * torch.pi / _WINDOW * torch.arange(_WINDOW, dtype=torch.float64)
        hann = (1 - angle.cos()) / 2
        phase = torch.arange(_WINDOW)[:, None] * angle  # (position, frequency)
        constants = {
            "mean": torch.tensor(mean).view(3, 1, 1),
            "std": torch.tensor(std).view(3, 1, 1),
            "filter": torch.tensor(_SQUARE).view(1, 1, 3, 3) / 4,
            "colours": torch.tensor(_COLOURS),
            "cosine": (hann[:, None] * phase.cos()).float(),
            "sine": (hann[:, None] * phase.sin()).float(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute features of normalised images (B, 3, H, W): each (B, any number)."""
        constant = dict(self.named_buffers())
        levels = 255 * (images * constant["std"] + constant["mean"])
        weight = constant["filter"].expand(3, 1, 3, 3)
        residual = conv2d(levels, weight, groups=3)
        mixed = torch.einsum("kc,bchw->bkhw", constant["colours"], residual)
        return [self.spectrum(mixed).flatten(1), *_moments(residual.flatten(2))]

    def spectrum(self, residual: Tensor) -> Tensor:
        """Logarithm of the mean power: (B, C, H, W) to (B, C, window, window / 2 + 1)."""
        constant, half = dict(self.named_buffers()), _WINDOW // 2
        cosine, sine = constant["cosine"], constant["sine"]
        missing = [max(0, _WINDOW - side) for side in residual.shape[2:]]
        residual = pad(residual, (0, missing[1], 0, missing[0]))  # of an image below a window
        windows = residual.unfold(2, _WINDOW, half).unfold(3, _WINDOW, half)
        even, odd = cosine.T @ windows, sine.T @ windows
        cosine, sine = cosine[:, : half + 1], sine[:, : half + 1]
        real, imaginary = even @ cosine - odd @ sine, even @ sine + odd @ cosine
        power = (real.square() + imaginary.square()).mean(dim=(2, 3))
        return (power + _FLOOR).log()


def _moments(colours: Tensor) -> list[Tensor]:
    """Deviation, skewness, kurtosis of each colour (B, 3, N), and correlations between colours."""
    centred = colours - colours.mean(dim=2, keepdim=True)
    deviation = centred.square().mean(dim=2, keepdim=True).sqrt() + _FLOOR
    unit = centred / deviation
    skewness, kurtosis = unit.pow(3).mean(dim=2).tanh(), (unit.pow(4).mean(dim=2) + _FLOOR).log()
    pairs = [(unit[:, i] * unit[:, j]).mean(dim=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    return [deviation[..., 0].log(), skewness, kurtosis, torch.stack(pairs, dim=1)]
