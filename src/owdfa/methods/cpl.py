"""CPL: Contrastive Pseudo Learning (Sun et al., ICCV 2023).

Paper: https://arxiv.org/abs/2309.11132. Page: docs/methods/cpl.md.

    L = CE_m + 0.5 GLV + 0.5 CSP - H

CE_m  cross-entropy of labelled images, after the label's logit was raised by a margin.
GLV   global-local voting: an image and its partner should be of one class. A labelled image's
      partner is another one of its class; an unlabelled one's is its nearest neighbour by the
      global feature, where the features of 3 x 3 cells agree (``owdfa.votes``), else itself.
CSP   confidence-based soft pseudo-labels: unlabelled images whose neighbour was confirmed learn a
      Gumbel-softmax sample of their own prediction.
H     entropy of the mean prediction: all classes should be used.
Optionally hard pseudo-labels are added (``owdfa.pseudo_labels``).

Differs from the authors' release (22e2584):
* labelled images stand anywhere in the batch, and a batch without any is no special case;
* GLV of a last, smaller batch counts (in the release it is 0);
* a hard pseudo-label rule that is asked for is used (the release makes its hooks and never calls
  them), and what it remembers is in the checkpoint.
"""

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import CellNecks, Neck, Prototypes
from owdfa.losses import entropy_of_mean, margin_cross_entropy, partner_agreement
from owdfa.methods.base import Method, OfficialCheckpoint
from owdfa.pseudo_labels import (
    PseudoLabelSettings,
    gumbel_soft_labels,
    hard_pseudo_label_loss,
    make_rule,
    soft_pseudo_label_loss,
)
from owdfa.records.training import UNLABELLED, Features, Losses, Progress
from owdfa.votes import Votes, cast_votes, choose_partners, part_similarity
from owdfa.weights import of_release, stacked

_OFFICIAL = {
    "encoder.encoder.": "backbone.network.",
    "encoder.bottleneck.": "neck.norm.",
    "encoder.fc2.weight": "prototypes.vectors",
}


class CPLSettings(Settings):
    """Settings of CPL; the defaults are the paper's."""

    margin: float = Field(default=0.2, ge=0)
    """What the label's logit is raised by before the cross-entropy."""
    glv_weight: float = Field(default=0.5, ge=0)
    """eta_1, weight of GLV."""
    csp_weight: float = Field(default=0.5, ge=0)
    """eta_2, weight of CSP."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """eta_3, weight of the entropy of the mean prediction."""
    cells: int = Field(default=3, ge=1)
    """Cells of the feature map in each direction."""
    prototype_scale: float = Field(default=0.001, gt=0)
    """Standard deviation of the classifier's weights at the start."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout of the embedding before it is scored."""
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    """Hard pseudo-labels in addition."""


@final
class CPL(Method):
    """The network that scores images, and the objective that trains it."""

    settings_type = CPLSettings
    views = ("strong",)
    needs_num_classes = True

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,  # noqa: ARG002
        num_classes: int | None,
        settings: CPLSettings,
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.backbone = backbone
        self.neck = Neck(backbone.channels)
        self.cells = CellNecks(backbone.channels, settings.cells)
        self.dropout = nn.Dropout(settings.dropout)
        self.prototypes = Prototypes(num_classes, backbone.channels, settings.prototype_scale)
        self.rule = make_rule(settings.pseudo_labels, num_classes)

    @classmethod
    def from_official(cls, weights: Mapping[str, Tensor]) -> OfficialCheckpoint | None:
        """Translate a checkpoint of the release, which numbers its cells' necks."""
        state = of_release(weights, _OFFICIAL)
        cells = stacked(weights, "encoder.bnneck")
        if "prototypes.vectors" not in state or not cells:
            return None
        num_classes = len(state["prototypes.vectors"])
        state["prototypes.active"] = torch.tensor(num_classes)
        state |= {f"cells.norm.{name}": tensor for name, tensor in cells.items()}
        return OfficialCheckpoint(state, num_classes, num_classes)

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return self.prototypes.num_active

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the global feature, and in training those of the cells."""
        (maps,) = self.backbone(images)
        return self.head(maps)

    def head(self, maps: Float[Tensor, "batch dim y x"]) -> Features:
        """Compute features from the last feature map alone."""
        parts = {"cells": self.cells(maps)} if self.training else {}
        return Features(self.neck(maps), parts=parts)

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings for every class."""
        logits: Tensor = self.prototypes(self.dropout(features.embedding))
        return logits

    def begin_training(self, labels: Tensor) -> None:
        """Tell the pseudo-label rule."""
        if self.rule is not None:
            self.rule.begin_training(labels)

    def begin_step(self, rows: Tensor) -> None:
        """Tell the pseudo-label rule."""
        if self.rule is not None:
            self.rule.begin_step(rows)

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of the one view."""
        (view,) = views
        logits = self.classify(view)
        votes = cast_votes(view.embedding, [part_similarity(view.parts["cells"])])
        noise = torch.rand(len(labels), len(labels), device=labels.device)
        return self.losses(logits, labels, votes, gumbel_soft_labels(logits), noise)

    def losses(
        self,
        logits: Float[Tensor, "batch classes"],
        labels: Int[Tensor, "batch"],
        votes: Votes,
        soft_labels: Float[Tensor, "batch classes"],
        noise: Float[Tensor, "batch batch"],
    ) -> Losses:
        """Compute L from logits, votes and what was drawn at random.

        Args:
            logits: Of the batch.
            labels: Class index, or ``UNLABELLED``.
            votes: For each image's neighbour.
            soft_labels: See ``gumbel_soft_labels``; those of labelled images do not matter.
            noise: Decides which image of its class is a labelled image's partner.
        """
        settings, unlabelled = self.settings, labels == UNLABELLED
        confirmed = votes.num_votes > 0
        partners = choose_partners(labels, votes.neighbours, confirmed, noise)
        ce = margin_cross_entropy(logits, labels, settings.margin)
        glv = partner_agreement(logits, partners)
        csp = soft_pseudo_label_loss(logits, soft_labels, confirmed, unlabelled)
        entropy = entropy_of_mean(logits)
        total = (
            ce
            + settings.glv_weight * glv
            + settings.csp_weight * csp
            - settings.entropy_weight * entropy
        )
        terms = {"ce": ce, "glv": glv, "csp": csp, "entropy": entropy}
        if self.rule is not None:
            terms["pseudo"] = hard_pseudo_label_loss(self.rule, logits, unlabelled)
            total = total + settings.pseudo_labels.weight * terms["pseudo"]
        return Losses(total, terms, logits.detach())
