"""What a backbone is: images in, one feature map out, and how its images are to be normalised."""

from typing import final

from torch import Tensor, nn


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
