"""The two ways in which the field counts accuracy in the open world; they are not comparable.

paper    Known = plain accuracy on images of known classes; Novel = a Hungarian match fitted on
         images of novel classes alone, over all predicted indices; All = another, on all images.
         A novel class absorbed by a known one can score well under Novel: nothing else claims
         the index there.
gcd-v2   One Hungarian match on all images; All, Known and Novel are read off it (Vaze et al.,
         CVPR 2022, arXiv:2201.02609).

NMI and ARI are those of the same three sets, and 0 where a set is empty.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from owdfa.metrics.clustering import (
    adjusted_rand_index,
    best_match,
    matched_images,
    normalised_mutual_information,
)


class Agreement(NamedTuple):
    """How well predictions agree with the truth on a set of images."""

    acc: float
    nmi: float
    ari: float


class Convention(NamedTuple):
    """The scores under one convention."""

    all: Agreement
    known: Agreement
    novel: Agreement


def paper_match(
    table: Int[np.ndarray, "classes indices"], num_known: int
) -> Int[np.ndarray, "classes"]:
    """The predicted index that counts as right: a known class's own; of a novel one, its match."""
    return np.concatenate([np.arange(num_known), best_match(table[num_known:])])


def gcd_match(
    table: Int[np.ndarray, "classes indices"], num_known: int
) -> Int[np.ndarray, "classes"]:
    """The predicted index matched to each class, -1 for none; known classes first among equals."""
    return best_match(table, favoured=num_known)


def paper_convention(table: Int[np.ndarray, "classes indices"], num_known: int) -> Convention:
    """Score by the convention of the papers on deepfake attribution.

    Args:
        table: Images by true class and predicted index, the known classes first in both.
        num_known: How many classes are known; not more than there are rows or columns.

    Example:
        >>> table = np.array([[8, 2, 0], [5, 5, 0], [10, 0, 0]])  # a novel class taken for known
        >>> paper_convention(table, num_known=2).novel.acc
        1.0
        >>> gcd_convention(table, num_known=2).novel.acc
        1.0
        >>> gcd_convention(table, num_known=2).known.acc
        0.25
    """
    right = matched_images(table, paper_match(table, num_known))
    everything = matched_images(table, best_match(table))
    return _on_three_sets(table, num_known, int(everything.sum()), right)


def gcd_convention(table: Int[np.ndarray, "classes indices"], num_known: int) -> Convention:
    """Score by the convention of generalised category discovery; arguments as above."""
    right = matched_images(table, gcd_match(table, num_known))
    return _on_three_sets(table, num_known, int(right.sum()), right)


def _on_three_sets(
    table: Int[np.ndarray, "classes indices"],
    num_known: int,
    num_right: int,
    right: Int[np.ndarray, "classes"],
) -> Convention:
    """Accuracy, NMI and ARI on everything (``num_right`` images right), known and novel."""
    known, novel = slice(0, num_known), slice(num_known, None)
    return Convention(
        _agreement(table, num_right),
        _agreement(table[known], int(right[known].sum())),
        _agreement(table[novel], int(right[novel].sum())),
    )


def _agreement(table: Int[np.ndarray, "classes indices"], num_right: int) -> Agreement:
    images = int(table.sum())
    if not images:
        return Agreement(0.0, 0.0, 0.0)
    nmi, ari = normalised_mutual_information(table), adjusted_rand_index(table)
    return Agreement(num_right / images, nmi, ari)
