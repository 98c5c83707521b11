"""Supervised bound: a classifier of the known classes, trained on labelled images alone.

    L = CE

Cross-entropy of the labelled images, both views, with one logit a known class. It cannot find a
novel class: what it scores on novel images is what a method of discovery must exceed.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import Neck
from owdfa.losses import labelled_cross_entropy
from owdfa.methods.base import Method
from owdfa.records.training import Features, Losses, Progress


class SupervisedSettings(Settings):
    """Settings of the supervised bound."""

    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout of the embedding before it is classified."""


@final
class Supervised(Method):
    """A classifier of the known classes; the number of classes in all does not concern it."""

    settings_type = SupervisedSettings
    takes_features = True
    discovers = False
    uses_unlabelled = False

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,
        num_classes: int | None,  # noqa: ARG002
        settings: SupervisedSettings,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = Neck(backbone.channels)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(backbone.channels, num_known, bias=False)

    @property
    def num_active(self) -> int:
        """Number of known classes."""
        return self.classifier.out_features

    def features(self, images: Float[Tensor, "batch _ h w"]) -> Features:
        """Compute the normalised embedding of images."""
        (maps,) = self.backbone(images)
        return Features(self.neck(maps))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings for every known class."""
        logits: Tensor = self.classifier(self.dropout(features.embedding))
        return logits

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute the cross-entropy of the labelled images."""
        logits = [self.classify(view) for view in views]
        ce = labelled_cross_entropy(torch.cat(logits), labels.repeat(len(views)))
        return Losses(ce, {"ce": ce}, logits[0].detach())
