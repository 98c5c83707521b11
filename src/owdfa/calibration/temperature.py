"""Temperature scaling (Guo et al., 2017, https://arxiv.org/abs/1706.04599).

    q(c) = p(c)^(1/T) / sum_k p(k)^(1/T)

with the T of greatest likelihood on held-out images. It orders the classes of an image as before.
Each group weighs the same, however many images it has.

Where all of few images are right, the likelihood alone would make every probability 1. So each
counts as wrong with weight 1 / (G + 2), of G groups (Platt, 1999): as sure as that many groups can
show.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from owdfa.calibration.statements import scaled

NUM_FOLDS = 5
_LIMITS = (0.05, 50.0)  # of a temperature


def group_weights(groups: Int[np.ndarray, "images"]) -> Float[np.ndarray, "images"]:
    """One over the number of images of each image's group."""
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1 / sizes[place]
    return weights


def fit_temperature(
    probabilities: Float[np.ndarray, "images classes"],
    labels: Int[np.ndarray, "images"],
    groups: Int[np.ndarray, "images"],
) -> float:
    """The temperature of greatest likelihood.

    Args:
        probabilities: At temperature 1, of all classes, known and novel.
        labels: Index of the true class.
        groups: Number of each image's group.

    Returns:
        Within 0.05 and 50; 1 without images.
    """
    if not len(labels):
        return 1.0
    weights, rows = group_weights(groups), np.arange(len(labels))
    doubt, tiny = 1 / (weights.sum() + 2), np.finfo(float).tiny

    def loss(log_temperature: float) -> float:
        made = scaled(probabilities, np.exp(log_temperature))
        right = made[rows, labels]
        made[rows, labels] = 0
        wrong = made.sum(axis=1)  # not 1 - right, which rounds to 0
        likely, unlikely = (np.log(np.maximum(each, tiny)) for each in (right, wrong))
        return float(-(weights * ((1 - doubt) * likely + doubt * unlikely)).sum())

    low, high = np.log(_LIMITS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def cross_fitted(
    probabilities: Float[np.ndarray, "images classes"],
    labels: Int[np.ndarray, "images"],
    groups: Int[np.ndarray, "images"],
    *,
    seed: int = 0,
) -> Float[np.ndarray, "images classes"]:
    """Scale each image by a temperature that was fitted to other groups.

    What is measured of the result is measured on groups that did not fit it. A single group is
    left as it is.

    Args:
        probabilities: At temperature 1.
        labels: Index of the true class.
        groups: Number of each image's group.
        seed: Of the order in which groups are dealt to the folds.
    """
    names, place = np.unique(groups, return_inverse=True)
    num_folds = min(NUM_FOLDS, len(names))
    folds = np.random.default_rng(seed).permutation(np.arange(len(names)) % max(num_folds, 1))
    result = probabilities.astype(np.float64)
    for fold in range(num_folds if num_folds > 1 else 0):
        inside = folds[place] == fold
        rest = ~inside
        temperature = fit_temperature(probabilities[rest], labels[rest], groups[rest])
        result[inside] = scaled(probabilities[inside], temperature)
    return result
