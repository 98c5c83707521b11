"""ORCA: open-world semi-supervised learning (Cao, Brbic, Leskovec, ICLR 2022).

Paper: https://arxiv.org/abs/2102.03526. Page: docs/methods/orca.md.

    L = CE + BCE - H

CE    cross-entropy of labelled images after raising the logit of their class by a margin, so that
      known classes do not run ahead: 10 u, where u is the mean uncertainty of unlabelled images,
      at most 0.5. The margin shrinks as the network becomes sure.
BCE   each image and its partner should be of one class: mean of -log(p_i . q_partner), p from the
      first and q from the second view. The partner of a labelled image is another image of its
      class, drawn at random (itself where there is none); that of an unlabelled image is its
      nearest neighbour in the batch, by the cosine of embeddings of the first view.
H     entropy of the mean prediction of the first view: all classes should be used.
Predictions are cosines with one vector a class, times 10.

Differs from the authors' release (orca, 5f33afd):
* u is the mean over the predictions of an epoch's training batches, first view, and serves the next
  epoch; the first one takes the greatest margin. In the release all unlabelled images are predicted
  before each epoch, in evaluation mode and without augmentation.
* the nearest neighbour is never the image itself (in the release it is the second nearest row,
  which is the image itself where rounding puts another before it);
* all of the network is trained (in the release, its last stage and the classifier).
"""

from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import CosineClassifier
from owdfa.losses import entropy_of_mean, labelled_cross_entropy
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, EpochEnd, Features, Losses, Progress


class ORCASettings(Settings):
    """Settings of ORCA; the defaults are those of the authors' release."""

    temperature: float = Field(default=0.1, gt=0)
    """What cosines are divided by."""
    max_uncertainty: float = Field(default=0.5, ge=0, le=1)
    """The greatest uncertainty that the margin follows."""


@final
class ORCA(Method):
    """A cosine classifier of all classes on the pooled feature map."""

    settings_type = ORCASettings
    takes_features = True
    views = ("strong", "strong")
    needs_num_classes = True

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,  # noqa: ARG002
        num_classes: int | None,
        settings: ORCASettings,
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.backbone = backbone
        self.classifier = CosineClassifier(num_classes, backbone.channels, settings.temperature)
        self.uncertainty: Tensor  # of unlabelled images in the epoch before
        self.register_buffer("uncertainty", torch.ones(()))
        self.confidence: Tensor  # of this epoch's unlabelled images: sum and number
        self.register_buffer("confidence", torch.zeros(2))

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return len(self.classifier.vectors)

    def features(self, images: Float[Tensor, "batch _ h w"]) -> Features:
        """Compute the mean of the feature map over its places."""
        (maps,) = self.backbone(images)
        return Features(maps.mean(dim=(2, 3)))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings: cosines with the class vectors over the temperature."""
        logits: Tensor = self.classifier(features.embedding)
        return logits

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of both views."""
        first, second = (self.classify(view) for view in views)
        self._observe(first, labels)
        return self.losses(first, second, draw_partners(views[0].embedding, labels), labels)

    def losses(
        self,
        first: Float[Tensor, "batch classes"],
        second: Float[Tensor, "batch classes"],
        partners: Int[Tensor, "batch"],
        labels: Int[Tensor, "batch"],
    ) -> Losses:
        """Compute L from the logits of both views and the row of each image's partner."""
        settings = self.settings
        margin = self.uncertainty.clamp(max=settings.max_uncertainty) / settings.temperature
        ce = labelled_cross_entropy(raise_targets(first, labels, margin), labels)
        bce = pairwise_agreement(first, second[partners])
        entropy = entropy_of_mean(first)
        terms = {"ce": ce, "bce": bce, "entropy": entropy}
        return Losses(ce + bce - entropy, terms, first.detach())

    @torch.no_grad()
    def end_epoch(self, progress: Progress) -> EpochEnd:  # noqa: ARG002
        """Take the epoch's mean uncertainty for the next one's margin."""
        total, count = self.confidence.unbind()
        mean = 1 - total / count.clamp(min=1)
        self.uncertainty.copy_(torch.where(count > 0, mean, self.uncertainty))
        self.confidence.zero_()
        return EpochEnd({"uncertainty": float(self.uncertainty)})

    @torch.no_grad()
    def _observe(
        self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch"]
    ) -> None:
        """Add the confidence of a batch's unlabelled images to this epoch's."""
        unlabelled = (labels == UNLABELLED).to(self.confidence)
        confidence = logits.softmax(dim=1).amax(dim=1)
        self.confidence += torch.stack([(unlabelled * confidence).sum(), unlabelled.sum()])


def raise_targets(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    margin: Float[Tensor, ""],
) -> Float[Tensor, "batch classes"]:
    """Add the margin to the logit of each row's label; rows without a label count for nothing."""
    column = labels.clamp(min=0)[:, None]
    return logits.scatter_add(1, column, margin.to(logits).expand(len(labels), 1))


def pairwise_agreement(
    first: Float[Tensor, "batch classes"], second: Float[Tensor, "batch classes"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the probability that row i of both is of one class, target 1.

    BCE: mean of ``-log sum_c softmax(first_i)_c softmax(second_i)_c``, from logarithms, so that it
    stays finite however sure both are of different classes.
    """
    return -(log_softmax(first, dim=1) + log_softmax(second, dim=1)).logsumexp(dim=1).mean()


@torch.no_grad()
def draw_partners(
    embedding: Float[Tensor, "batch dim"], labels: Int[Tensor, "batch"]
) -> Int[Tensor, "batch"]:
    """Row of each image's partner: one of its class at random, or its nearest neighbour."""
    rows = torch.arange(len(labels), device=labels.device)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    with torch.autocast(embedding.device.type, enabled=False):
        unit = normalize(embedding if embedding.dtype == torch.float64 else embedding.float())
        nearest = (unit @ unit.T).masked_fill(itself, -2).argmax(dim=1)
    same = (labels[:, None] == labels) & ~itself
    drawn = torch.rand(same.shape, device=labels.device).masked_fill(~same, -1).argmax(dim=1)
    drawn = drawn.where(same.any(dim=1), rows)
    return nearest.where(labels == UNLABELLED, drawn)
