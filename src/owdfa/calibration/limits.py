"""A threshold that holds a budget of false statements: a one-sided tolerance limit.

Of each held-out group of which a statement would be false, take the largest probability that any
of its images gives it. With n groups drawn alike, the share of new groups above the (k+1)-th
largest of these numbers is at most ``a`` with a probability of at least 1 - P(Binomial(n, a) <= k),
whatever their distribution (S. S. Wilks, 1941, https://doi.org/10.1214/aoms/1177731788). So k is
the largest number with P(Binomial(n, a) <= k) <= 1 - confidence. Where even k = 0 is too many, the
largest number itself is the threshold, which holds the larger share 1 - (1 - confidence)^(1/n).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binom


class Limit(NamedTuple):
    """A threshold and what it is worth."""

    threshold: float  # a statement needs a probability above it
    bound: float  # share of new groups above it, with the confidence asked for
    num_groups: int
    num_wronged: int  # of them above it


def tolerance_limit(
    scores: Float[np.ndarray, "images"],
    groups: Int[np.ndarray, "images"],
    budget: float,
    confidence: float,
    floor: float = 0.0,
) -> Limit:
    """Choose a threshold.

    Args:
        scores: Probability of the false statement, of each image of which it would be false.
        groups: Number of each image's group.
        budget: Share of groups that may be wronged.
        confidence: With which that must hold.
        floor: The least that the threshold may be.

    Returns:
        The threshold; 1, which no probability exceeds, where there is no group.
    """
    peaks = np.sort(_peaks(scores, groups))[::-1]
    if not len(peaks):
        return Limit(1.0, 1.0, 0, 0)
    allowed = num_allowed(len(peaks), budget, confidence)
    bound = budget
    if allowed < 0:
        allowed, bound = 0, 1 - (1 - confidence) ** (1 / len(peaks))
    threshold = max(float(peaks[allowed]) if allowed < len(peaks) else 0.0, floor)
    return Limit(threshold, bound, len(peaks), int((peaks > threshold).sum()))


def num_allowed(num_groups: int, budget: float, confidence: float) -> int:
    """How many of the held-out groups may be wronged; -1 where they are too few for the budget.

    Example:
        >>> [num_allowed(n, 0.01, 0.95) for n in (298, 299, 473)]
        [-1, 0, 1]
    """
    tails = binom.cdf(np.arange(num_groups + 1), num_groups, budget)
    return int((tails <= 1 - confidence).sum()) - 1


def groups_needed(budget: float, confidence: float) -> int:
    """The least number of held-out groups that can hold a budget.

    Example:
        >>> groups_needed(0.01, 0.95)
        299
    """
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-budget)))


def _peaks(
    scores: Float[np.ndarray, "images"], groups: Int[np.ndarray, "images"]
) -> Float[np.ndarray, "groups"]:
    """The largest score of each group."""
    names, place = np.unique(groups, return_inverse=True)
    peaks = np.full(len(names), -np.inf)
    np.maximum.at(peaks, place, scores)
    return peaks
