"""Rules that turn predictions of unlabelled images into targets, and the losses of such targets.

Soft targets are drawn (``gumbel_soft_labels``). Hard ones are the most probable class of each image
that a rule trusts: all (max), those above a threshold (FixMatch, Sohn et al., NeurIPS 2020), or
above one that follows the classes' progress (FlexMatch, Zhang et al., NeurIPS 2021; FreeMatch, Wang
et al., ICLR 2023). What a rule remembers is in buffers of fixed shape. Nothing here waits for the
device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gumbel_softmax

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.losses import masked_mean, soft_cross_entropy
from owdfa.records.training import UNLABELLED

RuleName = Literal["none", "max", "fixmatch", "flexmatch", "freematch"]


class PseudoLabelSettings(Settings):
    """Settings of the optional hard pseudo-labels."""

    rule: RuleName = "none"
    """Which unlabelled images get a hard pseudo-label as well."""
    weight: float = Field(default=0.5, ge=0)
    """Weight of their cross-entropy."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Confidence that fixmatch asks for; flexmatch asks for as much at most."""
    momentum: float = Field(default=0.999, ge=0, lt=1)
    """How much of its averages freematch keeps at each step."""
    remembered: int = Field(default=2**17, ge=1)
    """Training images that flexmatch has a memory for."""


class Predictions(NamedTuple):
    """What a rule sees of a batch; no gradients."""

    probabilities: Float[Tensor, "batch classes"]
    confidence: Float[Tensor, "batch"]
    guess: Int[Tensor, "batch"]
    unlabelled: Bool[Tensor, "batch"]

    @classmethod
    def of(
        cls, logits: Float[Tensor, "batch classes"], unlabelled: Bool[Tensor, "batch"]
    ) -> "Predictions":
        """Those of logits."""
        probabilities = logits.detach().softmax(dim=1)
        return cls(probabilities, *probabilities.max(dim=1), unlabelled)


class Rule(nn.Module, ABC):
    """Decides which unlabelled images to trust."""

    @abstractmethod
    def forward(self, seen: Predictions) -> Bool[Tensor, "batch"]:
        """Choose; what it says of labelled images does not matter."""

    def begin_training(self, labels: Tensor) -> None:
        """Take note of the labels (N,) of all training images. By default nothing."""

    def begin_step(self, rows: Tensor) -> None:
        """Take note of which of them the next batch holds, (B,) int64. By default nothing."""


@final
class Max(Rule):
    """Trusts every prediction."""

    def forward(self, seen: Predictions) -> Bool[Tensor, "batch"]:
        """Choose all."""
        return torch.ones_like(seen.unlabelled)


@final
class FixMatch(Rule):
    """Trusts predictions above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, seen: Predictions) -> Bool[Tensor, "batch"]:
        """Choose by one threshold."""
        return seen.confidence >= self.threshold


@final
class FlexMatch(Rule):
    """Asks less of classes that few images were confidently guessed to be of.

    It remembers each unlabelled image's last guess above ``threshold``. A class's threshold is
    ``threshold * a / (2 - a)``, where a is its number of such images over the greatest number of
    any class, or of images without such a guess, if they are more.
    """

    def __init__(self, num_classes: int, threshold: float, remembered: int) -> None:
        super().__init__()
        self.threshold = threshold
        self.guesses: Tensor  # of each training image, -1 for none yet; the last entry is a void
        self.register_buffer("guesses", torch.full((remembered + 1,), -1, dtype=torch.int16))
        self.num_unlabelled: Tensor
        self.register_buffer("num_unlabelled", torch.tensor(0))
        self.progress: Tensor  # a, of each class
        self.register_buffer("progress", torch.zeros(num_classes))
        self.rows: Tensor | None = None

    def begin_training(self, labels: Tensor) -> None:
        """Count the unlabelled images.

        Raises:
            UserError: They are more than it can remember.
        """
        if len(labels) >= len(self.guesses):
            raise UserError(
                f"flexmatch remembers {len(self.guesses) - 1} images and there are {len(labels)};"
                f" set method.pseudo_labels.remembered={len(labels)}"
            )
        self.num_unlabelled.copy_((labels == UNLABELLED).sum())

    def begin_step(self, rows: Tensor) -> None:
        """Keep the rows for the step."""
        self.rows = rows

    def forward(self, seen: Predictions) -> Bool[Tensor, "batch"]:
        """Choose by each class's threshold, then remember the guesses."""
        assert self.rows is not None, "begin_step comes before the objective"
        progress = self.progress[seen.guess]
        chosen = seen.confidence >= self.threshold * (progress / (2 - progress))
        sure = seen.unlabelled & (seen.confidence >= self.threshold)
        place = self.rows.where(sure, len(self.guesses) - 1)
        self.guesses[place] = seen.guess.where(sure, -1).to(self.guesses.dtype)
        self._count()
        return chosen

    def _count(self) -> None:
        """Update the progress of classes, unless all images are alike: then nothing is known."""
        guesses = self.guesses[:-1].long() + 1
        counts = torch.zeros(len(self.progress) + 1, dtype=torch.int64, device=guesses.device)
        counts.index_add_(0, guesses, torch.ones_like(guesses))
        guessed = counts[1:]
        most = torch.maximum(guessed.max(), self.num_unlabelled - guessed.sum())
        progress = (guessed / most.clamp(min=1)).to(self.progress.dtype)
        self.progress.copy_(progress.where(most < self.num_unlabelled, self.progress))


@final
class FreeMatch(Rule):
    """Follows the confidence of the model as a whole and of each class (self-adaptive threshold).

    A class's threshold is t * p_k / max p: t is a moving average of the 0.8 quantile of a batch's
    confidences, p one of its mean prediction. As in CPL's release both start at 1, so that nothing
    is trusted at first.
    """

    def __init__(self, num_classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.confidence: Tensor  # t
        self.register_buffer("confidence", torch.ones(()))
        self.prediction: Tensor  # p
        self.register_buffer("prediction", torch.ones(num_classes))

    def forward(self, seen: Predictions) -> Bool[Tensor, "batch"]:
        """Follow the batch, then choose by each class's threshold."""
        some = seen.unlabelled.any()
        mean = masked_mean(seen.probabilities, seen.unlabelled)
        high = _quantile(seen.confidence, seen.unlabelled, 0.8)
        self._follow(self.confidence, high, some)
        self._follow(self.prediction, mean, some)
        threshold = self.confidence * self.prediction / self.prediction.max()
        return seen.confidence >= threshold[seen.guess]

    def _follow(self, average: Tensor, value: Tensor, some: Tensor) -> None:
        moved = self.momentum * average + (1 - self.momentum) * value
        average.copy_(moved.where(some, average))


def make_rule(settings: PseudoLabelSettings, num_classes: int) -> Rule | None:
    """Make the rule that settings name; None for none."""
    make = _RULES[settings.rule]
    return None if make is None else make(settings, num_classes)


_RULES: Mapping[RuleName, Callable[[PseudoLabelSettings, int], Rule] | None] = {
    "none": None,
    "max": lambda _settings, _num_classes: Max(),
    "fixmatch": lambda settings, _num_classes: FixMatch(settings.threshold),
    "flexmatch": lambda settings, num_classes: FlexMatch(
        num_classes, settings.threshold, settings.remembered
    ),
    "freematch": lambda settings, num_classes: FreeMatch(num_classes, settings.momentum),
}


def hard_pseudo_label_loss(
    rule: Rule, logits: Float[Tensor, "batch classes"], unlabelled: Bool[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """Cross-entropy of trusted predictions with their own argmax, over all unlabelled images.

    The mean is over the images that are not trusted as well, which count as 0.
    """
    seen = Predictions.of(logits, unlabelled)
    losses = cross_entropy(logits, seen.guess, reduction="none")
    return masked_mean(losses * rule(seen), unlabelled)


def gumbel_soft_labels(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Draw a soft label for each row: a Gumbel-softmax sample at temperature 1; no gradient."""
    return gumbel_softmax(logits.detach(), tau=1.0)


def soft_pseudo_label_loss(
    logits: Float[Tensor, "batch classes"],
    soft_labels: Float[Tensor, "batch classes"],
    chosen: Bool[Tensor, "batch"],
    unlabelled: Bool[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Cross-entropy with soft labels, weighted by the confidence in them.

    The mean over all unlabelled images of ``softmax(z)[argmax q] * chosen * H(q, softmax(z))``; the
    gradient goes through the weight as well.
    """
    drawn = soft_labels.argmax(dim=1, keepdim=True)
    weight = logits.softmax(dim=1).gather(1, drawn)[:, 0] * chosen
    return masked_mean(weight * soft_cross_entropy(soft_labels, logits), unlabelled)


def _quantile(
    values: Float[Tensor, "batch"], chosen: Bool[Tensor, "batch"], share: float
) -> Float[Tensor, ""]:
    """The quantile of the chosen values, interpolated as ``torch.quantile`` does it."""
    ordered = values.masked_fill(~chosen, torch.inf).sort().values
    place = (share * (chosen.sum() - 1)).clamp(min=0).to(values.dtype)
    low, high = ordered[place.floor().long()], ordered[place.ceil().long()]
    return torch.lerp(low, high, place - place.floor())
