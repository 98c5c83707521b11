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
    Counts,
    adjusted_rand_index,
    best_match,
    counts_of,
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


class Conventions(NamedTuple):
    """The scores under both, and the predicted index that counts as right for each class."""

    paper: Convention
    gcd: Convention
    paper_match: Int[np.ndarray, "classes"]  # a known class's own index; a novel one's match
    gcd_match: Int[np.ndarray, "classes"]  # -1 for a class without a match


def score_conventions(table: Int[np.ndarray, "classes indices"], num_known: int) -> Conventions:
    """Score under both conventions.

    Among equally good gcd-v2 matches the one that is best for known classes counts, so that Known
    and Novel do not depend on how novel indices are numbered.

    Args:
        table: Images by true class and predicted index, the known classes first in both.
        num_known: How many classes are known; not more than there are rows or columns.

    Example:
        >>> table = np.array([[8, 2, 0], [0, 9, 0], [0, 10, 0]])  # novel images taken for known
        >>> found = score_conventions(table, num_known=2)
        >>> found.paper.known.acc, found.paper.novel.acc
        (0.8947368421052632, 1.0)
        >>> found.gcd.known.acc, found.gcd.novel.acc
        (0.42105263157894735, 1.0)
    """
    found = match(table, num_known)
    known, novel = counts_of(table[:num_known]), counts_of(table[num_known:])
    overlaps = [_overlap(counts) for counts in (known.stacked(novel), known, novel)]
    return Conventions(
        Convention(*map(_agreement, found.paper_right, overlaps)),
        Convention(*map(_agreement, found.gcd_right, overlaps)),
        found.paper,
        found.gcd,
    )


class Matches(NamedTuple):
    """The index that counts as right for each class under both conventions, and what it catches.

    Attributes:
        paper: (classes,) int64: a known class's own index; a novel one's match, or -1.
        gcd: (classes,) int64: its match, or -1.
        paper_right: Images that are right among all, those of known and those of novel classes.
        gcd_right: Likewise.
    """

    paper: Int[np.ndarray, "classes"]
    gcd: Int[np.ndarray, "classes"]
    paper_right: tuple[int, int, int]
    gcd_right: tuple[int, int, int]


def match(table: Int[np.ndarray, "classes indices"], num_known: int) -> Matches:
    """Match classes with indices under both conventions; see ``score_conventions``."""
    paper = np.concatenate([np.arange(num_known), best_match(table[num_known:])])
    gcd = best_match(table, favoured=num_known)
    by_paper, by_gcd = matched_images(table, paper), matched_images(table, gcd)
    known, novel = slice(0, num_known), slice(num_known, None)
    # On everything the paper fits a match anew, which can be no better than gcd-v2's: both are
    # optimal.
    right = (int(by_gcd.sum()), int(by_paper[known].sum()), int(by_paper[novel].sum()))
    return Matches(
        paper, gcd, right, (right[0], int(by_gcd[known].sum()), int(by_gcd[novel].sum()))
    )


class _Overlap(NamedTuple):
    """What does not depend on the convention."""

    num_images: int
    nmi: float
    ari: float


def _overlap(counts: Counts) -> _Overlap:
    images = int(counts.rows.sum())
    if not images:
        return _Overlap(0, 0.0, 0.0)
    return _Overlap(images, normalised_mutual_information(counts), adjusted_rand_index(counts))


def _agreement(right: int, overlap: _Overlap) -> Agreement:
    """Accuracy from the number of images that are right; 0 of no image."""
    return Agreement(right / max(overlap.num_images, 1), overlap.nmi, overlap.ari)
