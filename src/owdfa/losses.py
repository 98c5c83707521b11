"""Terms that several methods share. Pure functions that never make the device wait.

A mean over chosen rows is a masked sum over a clamped count: with no row chosen it is exactly 0
and so is its gradient.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, normalize

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


def masked_mean(
    values: Float[Tensor, "batch *rest"], chosen: Bool[Tensor, "batch"]
) -> Float[Tensor, "*rest"]:
    """Mean over the chosen rows; 0 without any."""
    rows = chosen.reshape(-1, *[1] * (values.dim() - 1))
    return values.where(rows, 0).sum(dim=0) / chosen.sum().clamp(min=1)


def margin_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch"], margin: float
) -> Float[Tensor, ""]:
    """Cross-entropy of labelled rows whose label's logit was raised by ``margin`` before.

    A positive margin asks for less: known classes are not pulled so tight that novel ones join
    them.
    """
    labelled = labels != UNLABELLED
    raised = logits.new_zeros(logits.shape).scatter(
        1, labels.clamp(min=0)[:, None], margin * labelled[:, None].to(logits.dtype)
    )
    return labelled_cross_entropy(logits + raised, labels)


def partner_agreement(
    logits: Float[Tensor, "batch classes"], partners: Int[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """How unlikely it is that an image and its partner are of one class.

    ``mean_i -log sum_k softmax(z_i)_k softmax(z_partner(i))_k``, each at most 100.
    """
    log_p = log_softmax(logits, dim=1)
    log_same = (log_p + log_p[partners]).logsumexp(dim=1)
    return -log_same.clamp(min=-100).mean()


def entropies(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
    """Entropy of the prediction of every row, in nats."""
    log_p = log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def soft_cross_entropy(
    target: Float[Tensor, "batch classes"], logits: Float[Tensor, "batch classes"]
) -> Float[Tensor, "batch"]:
    """``H(target_i, softmax(logits_i))`` of every row, for targets that are distributions."""
    return -(target * log_softmax(logits, dim=1)).sum(dim=1)


def contrastive(
    first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE between two views of each image (SimCLR, Chen et al., ICML 2020, arXiv:2002.05709).

    Each of the 2B rows is to be recognised as the other view of its image, by its cosine over the
    temperature, among the 2B - 1 other rows.
    """
    similarity = _similarity_to_others(first, second, temperature)
    rows = torch.arange(len(similarity), device=similarity.device)
    return cross_entropy(similarity, rows.roll(len(first)))


def supervised_contrastive(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    labels: Int[Tensor, "batch"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrast among labelled images (Khosla et al., NeurIPS 2020, arXiv:2004.11362).

    For each view of a labelled image: the mean, over all other views of images of its class, of
    minus the log of its softmax over all other views of labelled images. The mean of that over the
    views of labelled images; 0 without any.
    """
    similarity = _similarity_to_others(first, second, temperature)
    label = labels.repeat(2)
    labelled = label != UNLABELLED
    others = ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    positive = (label[:, None] == label) & labelled & others
    # Rows of unlabelled images count for nothing below, but must stay finite: they see all others.
    similarity = similarity.masked_fill(labelled[:, None] & ~labelled, -math.inf)
    log_share = log_softmax(similarity, dim=1).masked_fill(~positive, 0)
    means = log_share.sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    return -means.sum() / labelled.sum().clamp(min=1)


def _similarity_to_others(
    first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"], temperature: float
) -> Float[Tensor, "rows rows"]:
    """Cosines of all views over the temperature, the diagonal minus infinity; no autocast."""
    with torch.autocast(first.device.type, enabled=False):
        unit = normalize(torch.cat([first, second]))
        similarity = unit @ unit.T / temperature
    return similarity.fill_diagonal_(-math.inf)
