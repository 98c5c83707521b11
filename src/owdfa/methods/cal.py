"""CAL: Confidence-Aware Asymmetric Learning (Zheng et al., AAAI 2026).

Paper: https://arxiv.org/abs/2512.12667. Page: docs/methods/cal.md.

    L = CE + R + ACR + 0.2 CCR

CE   cross-entropy of labelled images, both views.
R    prior regularizer: the mean prediction should use all classes alike.
CCR  the strong view learns what the weak view predicts: confident images first, others later.
ACR  confident predictions of unlabelled images become their targets; novel classes have a lower
     confidence threshold than known ones, and it follows the gap between the two confidences.
When the number of classes is not known, prototypes that few images chose are pruned after each
epoch (DPP, ``owdfa.dpp``).

Differs from the authors' release (OWDFA-CAL, c8311d1), never in what one epoch computes:
* the number of active prototypes and the novel threshold are in the checkpoint, and pruned rows are
  never scored (in the release a reloaded model scores zero rows too, and its threshold restarts
  at 0);
* usage is counted batch by batch (the release keeps all logits of an epoch in memory);
* the optimiser's moments move with their prototypes (in the release they stay at the old rows);
* of equally used prototypes the lower row comes first (in the release the order is undefined).
The paper calls CCR's confidence normalised; as in the release, the sharpened softmax is all of it.
"""

import math
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.dpp import prune
from owdfa.layers import FrequencyEnhancement, Neck, Prototypes
from owdfa.losses import (
    chosen_cross_entropy,
    entropy_of_mean,
    labelled_cross_entropy,
    soft_cross_entropy,
)
from owdfa.methods.base import Method, OfficialCheckpoint
from owdfa.records.training import (
    UNLABELLED,
    EpochEnd,
    Features,
    Losses,
    Progress,
    RowMove,
)
from owdfa.weights import of_release

_OFFICIAL = {
    "encoder.encoder.": "backbone.network.",
    "encoder.fft_attn_module.freq_attn_net.": "ffe.mask.",
    "encoder.bottleneck.": "neck.norm.",
}


class CALSettings(Settings):
    """Settings of CAL; the defaults are the paper's (section 4.1, implementation details)."""

    ccr_weight: float = Field(default=0.2, ge=0)
    """Weight of CCR; 0 leaves it out."""
    acr_weight: float = Field(default=1.0, ge=0)
    """Weight of ACR; 0 leaves it out."""
    student_temperature: float = Field(default=1.0, gt=0)
    """tau_s, of the strong view's predictions."""
    teacher_temperature: float = Field(default=0.1, gt=0)
    """tau_t, of the weak view's; below 1 it sharpens them."""
    known_threshold: float = Field(default=0.9, ge=0, le=1)
    """gamma, the confidence threshold of known classes in ACR."""
    adaptive_threshold: bool = True
    """Whether that of novel classes follows their confidence; else it is gamma, as in FixMatch."""
    warm_up_epochs: int = Field(default=5, ge=0)
    """Epochs before ACR starts."""
    coverage: float = Field(default=0.9544, gt=0, le=1)
    """Share of the novel predictions that the prototypes kept by DPP must account for."""
    prototypes_per_known: int = Field(default=10, ge=2)
    """Prototypes for each known class at the start, where the number of classes is not known."""
    prototype_scale: float = Field(default=0.001, gt=0)
    """Standard deviation of the prototypes at the start."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout of the embedding before it is scored."""
    ffe: bool = True
    """Whether feature maps are weighted by frequency attention (FFE)."""


@final
class CAL(Method):
    """The network that scores images, and the objective that trains it.

    Args:
        backbone: Gives feature maps.
        num_known: Number of known classes.
        num_classes: Number of classes in all; None when it is not known: start with
            ``prototypes_per_known`` a known class and prune.
        settings: The method's settings.
    """

    settings_type = CALSettings

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: CALSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_known = num_known
        self.prunes = num_classes is None
        capacity = num_classes or settings.prototypes_per_known * num_known
        self.backbone = backbone
        self.ffe = FrequencyEnhancement() if settings.ffe else None
        self.neck = Neck(backbone.channels)
        self.dropout = nn.Dropout(settings.dropout)
        self.prototypes = Prototypes(capacity, backbone.channels, settings.prototype_scale)
        self.novel_threshold: Tensor  # gamma_n
        at_first = 0.0 if settings.adaptive_threshold else settings.known_threshold
        self.register_buffer("novel_threshold", torch.tensor(at_first))
        self.agreement: Tensor  # this epoch's agreement_stats
        self.register_buffer("agreement", torch.zeros(2, 2))
        self.usage: Tensor  # how many of this epoch's weak views chose each prototype
        self.register_buffer("usage", torch.zeros(capacity, dtype=torch.int64))

    @classmethod
    def from_official(cls, weights: Mapping[str, Tensor]) -> OfficialCheckpoint | None:
        """Translate a checkpoint of the release.

        It does not say how many prototypes are active: pruned rows are zero, and all at the end.
        Nor does it hold the novel threshold, which only further training would need; it starts
        at 0.
        """
        prototypes = weights.get("encoder.fc2")
        if prototypes is None or prototypes.dim() != 2 or not prototypes.any():
            return None
        num_classes, num_active = len(prototypes), int(prototypes.any(dim=1).nonzero().max()) + 1
        state = of_release(weights, _OFFICIAL)
        state["prototypes.vectors"] = prototypes
        state["prototypes.active"] = torch.tensor(num_active)
        state["novel_threshold"] = torch.zeros(())
        state["agreement"] = torch.zeros(2, 2)
        state["usage"] = torch.zeros(num_classes, dtype=torch.int64)
        return OfficialCheckpoint(state, num_classes, num_active)

    @property
    def num_active(self) -> int:
        """Number of prototypes that were not pruned: the width of the logits."""
        return self.prototypes.num_active

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the normalised embedding of images; FFE weighs the feature maps."""
        (maps,) = self.backbone(images)
        weights = None if self.ffe is None else self.ffe.weights(images, maps)
        return Features(self.neck(maps, weights))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings against every active prototype."""
        logits: Tensor = self.prototypes(self.dropout(features.embedding))
        return logits

    def objective(
        self, views: tuple[Features, ...], labels: Int[Tensor, "batch"], progress: Progress
    ) -> Losses:
        """Compute L from the features of the weak and the strong view."""
        weak, strong = (self.classify(view) for view in views)
        self._observe(weak, strong)
        return self.losses(weak, strong, labels, progress)

    def losses(
        self,
        weak: Float[Tensor, "batch classes"],
        strong: Float[Tensor, "batch classes"],
        labels: Int[Tensor, "batch"],
        progress: Progress,
    ) -> Losses:
        """Compute L from the logits of both views."""
        settings, both = self.settings, torch.cat([weak, strong])
        ce = labelled_cross_entropy(both / settings.student_temperature, labels.repeat(2))
        r = prior_regularizer(both / settings.student_temperature)
        ccr = confidence_weighted_consistency(
            weak,
            strong,
            progress=(progress.epoch + 1) / progress.epochs,
            teacher_temperature=settings.teacher_temperature,
            student_temperature=settings.student_temperature,
        )
        acr = self._reinforcement(weak, labels == UNLABELLED, progress.epoch)
        terms = {"ce": ce, "r": r, "acr": acr, "ccr": ccr}
        total = ce + r + settings.acr_weight * acr + settings.ccr_weight * ccr
        return Losses(total, terms, weak.detach())

    @torch.no_grad()
    def end_epoch(self, progress: Progress) -> EpochEnd:  # noqa: ARG002
        """Update the novel threshold; prune when the number of classes is not known."""
        if self.settings.adaptive_threshold:
            threshold = next_novel_threshold(
                self.novel_threshold, self.agreement, self.settings.known_threshold
            )
            self.novel_threshold.copy_(threshold)
        moves = self._prune() if self.prunes else ()
        self.agreement.zero_()
        self.usage.zero_()
        return EpochEnd({"novel_threshold": float(self.novel_threshold)}, moves)

    def _reinforcement(
        self, weak: Float[Tensor, "batch classes"], unlabelled: Bool[Tensor, "batch"], epoch: int
    ) -> Float[Tensor, ""]:
        if epoch < self.settings.warm_up_epochs:
            return weak.new_zeros(())
        return asymmetric_reinforcement(
            weak,
            unlabelled,
            num_known=self.num_known,
            known_threshold=self.settings.known_threshold,
            novel_threshold=self.novel_threshold,
            temperature=self.settings.student_temperature,
        )

    @torch.no_grad()
    def _observe(
        self, weak: Float[Tensor, "batch classes"], strong: Float[Tensor, "batch classes"]
    ) -> None:
        """Add a batch to this epoch's sums and counts."""
        self.agreement += agreement_stats(weak, strong, self.num_known)
        guess = weak.max(dim=1).indices  # argmax takes more than twice as long
        self.usage.index_add_(0, guess, torch.ones_like(guess))

    def _prune(self) -> tuple[RowMove, ...]:
        vectors, active = self.prototypes.vectors, self.num_active
        left = prune(vectors[:active], self.usage[:active], self.num_known, self.settings.coverage)
        if len(left.sources) == active:  # nothing to merge: no need to reorder either
            return ()
        self.prototypes.replace(left.prototypes)
        return (RowMove(vectors, left.sources),)


def prior_regularizer(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
    """R: half of what the entropy of the mean prediction falls short of log(classes)."""
    return (math.log(logits.shape[1]) - entropy_of_mean(logits)) / 2


def confidence_weighted_consistency(
    weak: Float[Tensor, "batch classes"],
    strong: Float[Tensor, "batch classes"],
    *,
    progress: float,
    teacher_temperature: float = 0.1,
    student_temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Train the strong view to predict what the weak view predicts.

    CCR::

        t_i = softmax(weak_i / tau_t)             the teacher's prediction; no gradient
        c_i = max_k t_ik                          its confidence
        w_i = (1 - p) c_i + p (1 - c_i)           p = 0 favours confident images, p = 1 others
        L   = mean_i  w_i * H(t_i, softmax(strong_i / tau_s))

    Args:
        weak: Logits of the weakly augmented view.
        strong: Logits of the strongly augmented view, the only input that gets a gradient.
        progress: p, the share of the training that this epoch completes, in (0, 1].
        teacher_temperature: tau_t; below 1 sharpens the teacher.
        student_temperature: tau_s.
    """
    teacher = (weak.detach() / teacher_temperature).softmax(dim=1)
    confidence = teacher.amax(dim=1)
    weight = (1 - progress) * confidence + progress * (1 - confidence)
    return (weight * soft_cross_entropy(teacher, strong / student_temperature)).mean()


def asymmetric_reinforcement(
    logits: Float[Tensor, "batch classes"],
    unlabelled: Bool[Tensor, "batch"],
    *,
    num_known: int,
    known_threshold: float,
    novel_threshold: Float[Tensor, ""],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Train on confident predictions of unlabelled images as if they were labels.

    ACR: mean cross-entropy of the logits, at temperature 1, with their own argmax, over the
    unlabelled images whose largest probability, at ``temperature``, reaches the threshold of known
    or of novel classes; 0 without any.
    """
    confidence, guess = (logits.detach() / temperature).softmax(dim=1).max(dim=1)
    threshold = novel_threshold.expand_as(confidence).masked_fill(
        guess < num_known, known_threshold
    )
    return chosen_cross_entropy(logits, guess, unlabelled & (confidence >= threshold))


def agreement_stats(
    weak: Float[Tensor, "batch classes"], strong: Float[Tensor, "batch classes"], num_known: int
) -> Float[Tensor, "2 2"]:
    """Sum and number of the confidences of images whose two views agree.

    Rows: guessed to be of a known class, of a novel one. Columns: sum of the weak view's largest
    probability, at temperature 1; number of images. Labelled images count as well.
    """
    best, guess = weak.max(dim=1)
    confidence = (best - weak.logsumexp(dim=1)).exp()
    agree, known = guess == strong.max(dim=1).indices, guess < num_known
    chosen = torch.stack([agree & known, agree & ~known]).to(confidence)
    # Not a product: autocast would take that in half precision.
    return torch.stack([(chosen * confidence).sum(dim=1), chosen.sum(dim=1)], dim=1)


def next_novel_threshold(
    current: Float[Tensor, ""], agreement: Float[Tensor, "2 2"], known_threshold: float
) -> Float[Tensor, ""]:
    """Compute gamma_n = gamma * clamp(mean novel / mean known confidence, 0.1, 10).

    It may exceed 1, and then no novel prediction is trusted. Without images of either sort it
    stays.
    """
    total, count = agreement.unbind(dim=1)
    known, novel = (total / count).unbind()
    ratio = (novel / known).float().clamp(0.1, 10.0)  # the release rounds it to float32 as well
    return torch.where((count > 0).all(), known_threshold * ratio.to(current), current)
