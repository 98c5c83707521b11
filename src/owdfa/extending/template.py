"""Template: a line that says what the method is (its paper, and a link).

    L = CE + w (Cons - H)

CE    cross-entropy of labelled images, both views.
Cons  the strong view learns what the weak one predicts, sharpened; the weak one has no gradient.
H     entropy of the mean prediction: all classes should be used.

What differs from the paper or its release stands here.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import CosineClassifier
from owdfa.losses import entropy_of_mean, labelled_cross_entropy, soft_cross_entropy
from owdfa.methods.base import Method
from owdfa.records.training import Features, Losses, Progress


class TemplateSettings(Settings):
    """Settings of the method; a default and a line of meaning for each."""

    weight: float = Field(default=0.5, ge=0)
    """w, weight of what needs no label."""
    temperature: float = Field(default=0.1, gt=0)
    """What cosines are divided by."""
    sharpness: float = Field(default=2.0, ge=1)
    """What the weak view's logits are multiplied by before the strong view learns them."""


@final
class Template(Method):
    """A cosine classifier of all classes on the mean of the last feature map."""

    settings_type = TemplateSettings
    views = ("weak", "strong")

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,
        num_classes: int | None,
        settings: TemplateSettings,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        width = num_classes or 2 * num_known  # more than there are, where nobody knows how many
        self.classifier = CosineClassifier(width, backbone.channels, settings.temperature, 1.0)

    @property
    def num_active(self) -> int:
        """Number of classes, the known ones first."""
        return len(self.classifier.vectors)

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the mean of the feature map over its places."""
        (maps,) = self.backbone(images)
        return Features(maps.mean(dim=(2, 3)))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings for every class."""
        logits: Tensor = self.classifier(features.embedding)
        return logits

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of both views."""
        weak, strong = (self.classify(view) for view in views)
        ce = labelled_cross_entropy(torch.cat([weak, strong]), labels.repeat(2))
        target = (self.settings.sharpness * weak.detach()).softmax(dim=1)
        cons = soft_cross_entropy(target, strong).mean()
        entropy = entropy_of_mean(torch.cat([weak, strong]))
        terms = {"ce": ce, "cons": cons, "entropy": entropy}
        return Losses(ce + self.settings.weight * (cons - entropy), terms, weak.detach())
