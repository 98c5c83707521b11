"""At least what share of a pile is from novel types: a lower bound, not an estimate.

If a share a of the unlabelled images are of known types, then of any set of scores at least a times
the share of known images that fall in it is found in the pile. So a is at most the least ratio of
the two, over all thresholds of a score (best bin estimation; Garg et al., "Domain adaptation under
open set label shift", NeurIPS 2022). Both shares are measured, and their errors are bounded at all
thresholds at once (Dvoretzky, Kiefer and Wolfowitz, with Massart's constant).

The score is the log-probability of "some known type". It is fitted to one half of the images and
measured on the other, or it would have seen what it is measured on. Known types may be as common
in the pile as they like: held-out labelled images are weighted by how common their type is found
to be.

It assumes that unlabelled images of known types are like the labelled ones. Where they are not, say
after another compression, they count as novel, and the bound is too high.
"""

from typing import NamedTuple

import numpy as np

from owdfa.plda.fit import Fitted, TypesSettings, fit
from owdfa.plda.model import log_mixture
from owdfa.plda.space import canonical_order
from owdfa.records.training import UNLABELLED


class Scores(NamedTuple):
    """Scores of images that are known for sure; greater is more like known types.

    Attributes:
        values: (n,).
        weights: (n,), how much each counts.
    """

    values: np.ndarray
    weights: np.ndarray


def lower_bound(known: Scores, pile: np.ndarray, confidence: float = 0.95) -> float:
    """The share of ``pile`` that is novel is at least this, with this confidence.

    Args:
        known: Held-out images of known types.
        pile: (N,), scores of the pile.
        confidence: Of the bound.
    """
    if not len(known.values) or not len(pile):
        return 0.0
    order = np.argsort(-known.values, kind="stable")
    weights = known.weights[order] / known.weights.sum()
    thresholds = known.values[order]
    above_known = np.cumsum(weights)
    ordered = np.sort(pile)
    above_pile = 1 - np.searchsorted(ordered, thresholds, side="left") / len(pile)
    log_term = np.log(2 / (1 - confidence)) / 2  # half of the allowed error each
    error_known = np.sqrt(log_term * np.square(weights).sum())
    error_pile = np.sqrt(log_term / len(pile))
    least = above_known - error_known
    usable = least > 0
    if not usable.any():
        return 0.0
    return float(max(0.0, 1 - ((above_pile + error_pile)[usable] / least[usable]).min()))


def novel_share(
    features: np.ndarray,
    labels: np.ndarray,
    num_known: int,
    settings: TypesSettings | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> float:
    """The share of the unlabelled images that is from novel types is at least this.

    Args:
        features: (N, F).
        labels: (N,) int64: known type, or ``UNLABELLED``.
        num_known: K.
        settings: How types are found.
        confidence: Of the bound.
        seed: Decides what is drawn.
    """
    order = canonical_order(features, labels)
    order = order[np.argsort(labels[order], kind="stable")]  # so that halves have as many of each
    first, second = order[::2], order[1::2]
    fitted = fit(features[first], labels[first], num_known, settings, seed=seed)
    scores = _known_scores(fitted, features[second])
    free = labels[second] == UNLABELLED
    held_out = labels[second][~free]
    common = fitted.mixture.shares[:num_known]
    counts = np.maximum(np.bincount(held_out, minlength=num_known), 1)
    return lower_bound(Scores(scores[~free], (common / counts)[held_out]), scores[free], confidence)


def _known_scores(fitted: Fitted, features: np.ndarray) -> np.ndarray:
    logs = fitted.log_posterior(features)
    return log_mixture(logs[:, : fitted.mixture.num_known])
