"""Likelihood ratios: what an image's evidence for a type is, and whether such evidence is earned.

All ratios are logarithms; against what, and to which base, the functions say.
"""

from typing import NamedTuple

import numpy as np

STRONG = 10.0
"""A ratio that would be acted upon."""


class Evidence(NamedTuple):
    """What ratios say of each image; (N,) each, in the base of what was given.

    Attributes:
        own: Of the predicted type against the best other explanation: another type, or one that
            nobody has seen. Below 0 where the type was predicted for being common.
        known: Of the best known type against the best other explanation.
        known_index: Which known type that is.
        unseen: Of a type that nobody has seen against the best type.
    """

    own: np.ndarray
    known: np.ndarray
    known_index: np.ndarray
    unseen: np.ndarray


def evidence(ratios: np.ndarray, predicted: np.ndarray, num_known: int) -> Evidence:
    """Sum up the ratios of each image.

    Args:
        ratios: (N, C), of each type against a type that nobody has seen.
        predicted: (N,) int, the predicted type.
        num_known: Of the C types, the first.

    Example:
        >>> evidence(np.array([[3.0, 1.0, -2.0]]), np.array([0]), 2).own
        array([2.])
    """
    rivals = against_best_other(np.hstack([ratios, np.zeros_like(ratios[:, :1])]))
    row, known = np.arange(len(ratios)), rivals[:, :num_known]
    best = known.argmax(axis=1)
    return Evidence(rivals[row, predicted], known[row, best], best, rivals[:, -1])


def against_best_other(logs: np.ndarray) -> np.ndarray:
    """Each log-density (N, C) minus the greatest of the others in its row."""
    row, best = np.arange(len(logs)), logs.argmax(axis=1)
    others = logs.copy()
    others[row, best] = -np.inf
    rival = np.repeat(logs[row, best][:, None], logs.shape[1], axis=1)
    rival[row, best] = others.max(axis=1)
    return np.asarray(logs - rival)


def cllr(same: np.ndarray, different: np.ndarray) -> float:
    """Cost of log-likelihood ratios (Brümmer and du Preez, Computer Speech & Language, 2006), bits.

    0 for ratios that are always right and sure of it, 1 for ratios that are always 1 and say
    nothing, more than 1 for ratios that mislead.

    Args:
        same: Natural log-ratios where the type did make the image.
        different: Where it did not.
    """
    return float((np.logaddexp(0, -same).mean() + np.logaddexp(0, different).mean()) / np.log(4))
