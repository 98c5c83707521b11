"""Split-conformal sets of classes, for images that come in groups.

A class is in the set of an image where its probability is at least one minus a threshold (Sadinle
et al., 2019, https://arxiv.org/abs/1609.00451). Images of a group are alike, so the group is what
is exchangeable, and the threshold is the quantile at ``coverage`` of

    sum_g sum_i delta(s_gi) / ((K + 1) n_g) + delta(infinity) / (K + 1)

over K groups of n_g images with scores s = 1 - p(true class) (Lee, Barber and Willett, 2023,
https://arxiv.org/abs/2306.06342). An image of a new group then has its class in the set with a
probability of at least ``coverage``, if its class is known and the group is like those held out.
MAPIE and crepes take every image as one of its own, so this is not theirs.
"""

import numpy as np
from jaxtyping import Float, Int

from owdfa.calibration.temperature import group_weights


def set_threshold(
    scores: Float[np.ndarray, "images"], groups: Int[np.ndarray, "images"], coverage: float
) -> float:
    """The largest one minus probability of a class in a set; infinity where all must be in.

    Args:
        scores: One minus the probability of the true class, of each held-out image.
        groups: Number of each image's group.
        coverage: Share of images whose class must be in their set.
    """
    num_groups = len(np.unique(groups))
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(group_weights(groups)[order]) / (num_groups + 1)
    place = np.searchsorted(mass, coverage - 1e-12)  # sums of thirds are not quite whole
    return float(scores[order[place]]) if place < len(order) else float("inf")
