"""DPP, dynamic prototype pruning: how many novel classes are there?

From CAL (Zheng et al., AAAI 2026, arXiv:2512.12667), for a number of classes that is not known.
Training starts with many novel prototypes; after every epoch those that few images chose are
merged into their nearest neighbours among the others. Pure functions of prototypes and usage.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize


class Pruning(NamedTuple):
    """What is left of a set of prototypes."""

    prototypes: Float[Tensor, "left dim"]
    sources: Int[Tensor, "left"]  # row j stands for what was row sources[j]


def prune(
    prototypes: Float[Tensor, "active dim"],
    usage: Int[Tensor, "active"],
    num_known: int,
    coverage: float,
) -> Pruning:
    """Merge rarely used novel prototypes into the others.

    Args:
        prototypes: The known ones first; these stay as they are.
        usage: How many images of the epoch chose each.
        num_known: Number of known classes.
        coverage: Share of the novel choices that the kept prototypes must account for at least.

    Returns:
        The known prototypes, then the kept novel ones by decreasing usage: also when all are kept.
    """
    # Equal usage: the lower row first, so that every machine prunes alike.
    ranked, order = usage[num_known:].sort(descending=True, stable=True)
    num_kept = num_to_keep(ranked, coverage)
    known, novel = prototypes[:num_known], prototypes[num_known:][order]
    merged = merge(novel[:num_kept], novel[num_kept:])
    rows = torch.arange(num_known, device=order.device)
    return Pruning(torch.cat([known, merged]), torch.cat([rows, num_known + order[:num_kept]]))


def num_to_keep(usage: Int[Tensor, "novel"], coverage: float) -> int:
    """Find the elbow of decreasing usage counts, beyond the rank that reaches ``coverage``.

    ::

        k_min  the first k with (u_0 + ... + u_k) / sum(u) >= coverage
        tail   u_{k_min}, u_{k_min + 1}, ...;  m its mean, d its mean absolute step
        keep   u_0 ... u_{k_min}, then on while u_k >= m or |u_k - u_{k - 1}| >= d

    With no choice at all, nothing can be said and everything is kept.
    """
    total = usage.sum()
    if total == 0:
        return len(usage)
    counts = usage.double()
    k_min = int((counts.cumsum(0) / total < coverage).sum())
    tail = counts[k_min:]
    steps = tail.diff().abs()
    if len(steps) == 0:
        return len(usage)
    goes_on = (tail[1:] >= tail.mean()) | (steps >= steps.mean())
    return k_min + 1 + int(goes_on.int().cumprod(0).sum())


def merge(
    kept: Float[Tensor, "kept dim"], dropped: Float[Tensor, "dropped dim"]
) -> Float[Tensor, "kept dim"]:
    """Give each dropped prototype to the kept one of greatest cosine similarity.

    A kept prototype that receives any becomes the mean of itself and those, scaled to length 1;
    the others stay as they are.
    """
    nearest = (normalize(dropped, dim=1) @ normalize(kept, dim=1).T).argmax(dim=1)
    rows = torch.arange(len(kept), device=kept.device)
    given = (rows[:, None] == nearest).to(kept)  # a product, not index_add: the same bits each time
    num_given = given.sum(dim=1, keepdim=True)
    mean = (kept + given @ dropped) / (1 + num_given)
    return torch.where(num_given > 0, normalize(mean, dim=1), kept)
