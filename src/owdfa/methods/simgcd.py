"""SimGCD: a parametric classifier for generalized category discovery (Wen et al., ICCV 2023).

Paper: https://arxiv.org/abs/2211.11727. Page: docs/methods/simgcd.md.

    L = 0.65 (UCon + Dist + 2 MeMax) + 0.35 (SCon + CE)

UCon   InfoNCE between the projections of two views of every image.
SCon   supervised contrast between the projections of labelled images.
Dist   each view learns what the other one predicts, sharpened by a teacher's temperature that
       falls over the first epochs; the teacher has no gradient.
MeMax  log C less the entropy of the mean prediction: all classes should be used alike.
CE     cross-entropy of labelled images, both views.
Predictions are cosines with one vector a class over a temperature of 0.1.

Differs from the authors' release (SimGCD, f843f27), never in what a batch's losses compute:
* the backbone is any of the catalogue, trained whole (in the release a ViT of which the last block
  is trained), and each view goes through it by itself;
* weight decay acts on biases too;
* without labelled images in a batch SCon and CE are 0 (in the release they are not a number).
Paper and release differ: the paper names a temperature of 0.07 for UCon and of 1.0 for SCon, and a
teacher's temperature that falls as a cosine; as in the release they are 1.0 and 0.07, and it falls
linearly.
"""

import math
from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import CosineClassifier, ProjectionHead
from owdfa.losses import (
    contrastive,
    entropy_of_mean,
    labelled_cross_entropy,
    soft_cross_entropy,
    supervised_contrastive,
)
from owdfa.methods.base import Method
from owdfa.records.training import Features, Losses, Progress

_NORM = 1 / math.sqrt(3)  # of class vectors at the start: that of torch's linear layer


class SimGCDSettings(Settings):
    """Settings of SimGCD; the defaults are those of the authors' release."""

    supervised_weight: float = Field(default=0.35, ge=0, le=1)
    """Weight of what rests on labels; the rest has 1 minus this."""
    memax_weight: float = Field(default=2.0, ge=0)
    """Weight of MeMax beside Dist."""
    student_temperature: float = Field(default=0.1, gt=0)
    """What cosines are divided by in every prediction but the teacher's."""
    first_teacher_temperature: float = Field(default=0.07, gt=0)
    """The teacher's temperature in the first epoch."""
    teacher_temperature: float = Field(default=0.04, gt=0)
    """The teacher's temperature after its warm-up."""
    teacher_warm_up: float = Field(default=0.15, ge=0, le=1)
    """Share of the epochs over which the teacher's temperature falls: 30 of the paper's 200."""
    contrastive_temperature: float = Field(default=1.0, gt=0)
    """Temperature of UCon."""
    supervised_contrastive_temperature: float = Field(default=0.07, gt=0)
    """Temperature of SCon."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projection head's hidden layers."""
    projection_dim: int = Field(default=256, ge=1)
    """Length of what the projection head makes."""


@final
class SimGCD(Method):
    """A cosine classifier of all classes and a projection head, both on the pooled feature map."""

    settings_type = SimGCDSettings
    takes_features = True
    views = ("strong", "strong")
    needs_num_classes = True

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,  # noqa: ARG002
        num_classes: int | None,
        settings: SimGCDSettings,
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.backbone = backbone
        dim = backbone.channels
        self.head = ProjectionHead(dim, settings.hidden_dim, settings.projection_dim)
        self.classifier = CosineClassifier(num_classes, dim, settings.student_temperature, _NORM)

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return len(self.classifier.vectors)

    def features(self, images: Float[Tensor, "batch _ h w"]) -> Features:
        """Compute the mean of the feature map over its places."""
        (maps,) = self.backbone(images)
        return Features(maps.mean(dim=(2, 3)))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings: cosines with the class vectors over the student's temperature."""
        logits: Tensor = self.classifier(features.embedding)
        return logits

    def objective(
        self, views: tuple[Features, ...], labels: Int[Tensor, "batch"], progress: Progress
    ) -> Losses:
        """Compute L from the features of both views."""
        first, second = views
        logits = self.classify(first), self.classify(second)
        projections = self.head(first.embedding), self.head(second.embedding)
        return self.losses(logits, projections, labels, progress)

    def losses(
        self,
        logits: tuple[Tensor, Tensor],
        projections: tuple[Tensor, Tensor],
        labels: Int[Tensor, "batch"],
        progress: Progress,
    ) -> Losses:
        """Compute L from logits (B, C) and projections (B, P) of both views."""
        settings, both = self.settings, torch.cat(logits)
        sharpness = settings.student_temperature / teacher_temperature(settings, progress)
        dist = distillation(*logits, sharpness)
        memax = math.log(both.shape[1]) - entropy_of_mean(both)
        ce = labelled_cross_entropy(both, labels.repeat(2))
        ucon = contrastive(*projections, settings.contrastive_temperature)
        temperature = settings.supervised_contrastive_temperature
        scon = supervised_contrastive(*projections, labels, temperature)
        share = settings.supervised_weight
        total = (1 - share) * (ucon + dist + settings.memax_weight * memax) + share * (scon + ce)
        terms = {"ucon": ucon, "dist": dist, "memax": memax, "scon": scon, "ce": ce}
        return Losses(total, terms, logits[0].detach())


def teacher_temperature(settings: SimGCDSettings, progress: Progress) -> float:
    """The teacher's temperature: falls linearly over the warm-up, whose last epoch has the end."""
    num_epochs = round(settings.teacher_warm_up * progress.epochs)
    done = min(1.0, progress.epoch / (num_epochs - 1)) if num_epochs > 1 else 1.0
    first, last = settings.first_teacher_temperature, settings.teacher_temperature
    return first + (last - first) * done


def distillation(
    first: Float[Tensor, "batch classes"], second: Float[Tensor, "batch classes"], sharpness: float
) -> Float[Tensor, ""]:
    """Train each view to predict what the other one does, sharpened.

    Dist: the mean over both directions and all images of ``H(softmax(s t), softmax(z))``, where z
    are the logits of one view and t those of the other, without gradient, and s is ``sharpness``.
    """
    teachers = ((sharpness * view.detach()).softmax(dim=1) for view in (second, first))
    pairs = zip(teachers, (first, second), strict=True)
    return torch.stack([soft_cross_entropy(*pair).mean() for pair in pairs]).mean()
