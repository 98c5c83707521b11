"""Likelihood ratios: how much better one type explains an image, or a group, than any other does.

A ratio of 100 for a type says: what is seen is 100 times as probable if this type made it as under
the best other explanation, another type or one that nobody has seen. It is no probability that the
type made it: that also depends on how common the type is. Forensic science reports evidence so.
"""

from typing import NamedTuple

import numpy as np

from owdfa.metrics.likelihood_ratios import against_best_other, cllr
from owdfa.plda.model import Prior, Types, log_density, log_group_density, unseen


def log_ratios(rows: np.ndarray, types: Types, prior: Prior) -> np.ndarray:
    """Logarithm (N, C + 1) of each image's ratio for each type against the best other explanation.

    The last column is for a type that nobody has seen.

    Args:
        rows: (N, d), of :class:`~owdfa.plda.space.Space`.
        types: The C types.
        prior: Of a type that nobody has seen.
    """
    return against_best_other(log_density(rows, types.beside(unseen(prior))))


def group_log_ratios(rows: np.ndarray, types: Types, prior: Prior) -> np.ndarray:
    """The same of a group of images that one type made, all together: (C + 1,)."""
    logs = log_group_density(rows, types.beside(unseen(prior)))
    return np.asarray(against_best_other(logs[None])[0])


class Scaled(NamedTuple):
    """Log-ratios are multiplied by this: below 1, the model was too sure."""

    factor: float
    cllr: float  # of the ratios after that


def best_factor(same: np.ndarray, different: np.ndarray) -> Scaled:
    """The factor in (0, 1] with the least Cllr. The cost is convex in it: a fine grid serves."""
    tried = np.geomspace(0.01, 1, 81)
    costs = [cllr(same * each, different * each) for each in tried]
    best = int(np.argmin(costs))
    return Scaled(float(tried[best]), costs[best])
