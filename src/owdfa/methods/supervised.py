"""Supervised baseline: what is reached without a look at any unlabelled image.

    L = CE

Cross-entropy on the labelled images, both views, with one logit a known class. It cannot find a
novel class: whatever it scores on those is the floor that a method of discovery must clear.
"""

from typing import final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.distributed import joined
from owdfa.layers import Neck
from owdfa.losses import labelled_cross_entropy
from owdfa.methods.base import Method
from owdfa.records.training import Batch, EpochEnd, Losses, Outputs, Progress


class SupervisedSettings(Settings):
    """Settings of the supervised baseline."""

    dropout: float = Field(default=0.2, ge=0, lt=1)


@final
class Supervised(Method):
    """A classifier of the known classes; the number of classes in all does not concern it."""

    settings_type = SupervisedSettings
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
    def num_live(self) -> int:
        """Number of known classes."""
        return self.classifier.out_features

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Outputs:
        """Score normalised images against every known class."""
        embedding = self.dropout(self.neck(self.backbone(images)))
        return Outputs(self.classifier(embedding), embedding)

    def losses(self, batch: Batch, progress: Progress) -> Losses:  # noqa: ARG002
        """Compute the cross-entropy of the labelled images."""
        logits = [joined(self(view).logits) for view in batch.views]
        labels = batch.labels.repeat(len(batch.views))
        ce = labelled_cross_entropy(torch.cat(logits), labels)
        return Losses(ce, {"ce": ce}, logits[0].detach())

    def end_epoch(self, progress: Progress) -> EpochEnd:  # noqa: ARG002
        """Nothing changes between epochs."""
        return EpochEnd({})
