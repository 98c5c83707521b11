"""Terms that several methods share. Pure functions that never make the device wait.

A mean over chosen rows is a masked sum over a clamped count: with no row chosen it is exactly 0
and so is its gradient.
"""

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from owdfa.records.training import UNLABELLED


def labelled_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the rows that carry a label; 0 without any."""
    total = cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def chosen_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    chosen: Bool[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the chosen rows; 0 without any."""
    return labelled_cross_entropy(logits, labels.masked_fill(~chosen, UNLABELLED))


def entropy_of_mean(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
    """Entropy of the mean prediction: ``H(mean_i softmax(logits_i))``, in nats.

    At most log(classes), when the batch as a whole uses all classes alike. Computed from
    logarithms, so that a class which nobody predicts costs nothing rather than NaN.
    """
    log_mean = log_softmax(logits, dim=1).logsumexp(dim=0) - math.log(len(logits))
    return -(log_mean.exp() * log_mean).sum()


def soft_cross_entropy(
    target: Float[Tensor, "batch classes"], logits: Float[Tensor, "batch classes"]
) -> Float[Tensor, "batch"]:
    """``H(target_i, softmax(logits_i))`` of every row, for targets that are distributions."""
    return -(target * log_softmax(logits, dim=1)).sum(dim=1)
