"""Types as what many clusterings agree on: evidence accumulation (Fred and Jain, IEEE PAMI 2005).

Semi-supervised k-means is repeated with different numbers of types, starts and parts of the images.
Two images are of one type if they are together often enough. That needs no number of types; and
where one clustering cuts a type in two by what its images show, the next one cuts elsewhere. How
often is often enough is set by hiding known types (:mod:`owdfa.plda.known_out`).
"""

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from owdfa.clustering import class_sums, semi_supervised_kmeans, squared_distances
from owdfa.plda.mixture import Mixture, maximise
from owdfa.plda.model import posterior
from owdfa.records.training import UNLABELLED

_NUMBERS = 10  # of types that are tried, from one more than the known ones on
_SURPLUS = 2  # novel types for each known one, at the most of them; 10 at least
_LEAST_SURPLUS = 10
_REPEATS = 4  # of each number
_PART = 0.7  # of the unlabelled images in a clustering
_ITERATIONS = 30  # of k-means


class Pile(NamedTuple):
    """Images in the space, in an order that is their own.

    Attributes:
        rows: (N, d).
        labels: (N,) int64: known type, or ``UNLABELLED``.
    """

    rows: np.ndarray
    labels: np.ndarray

    @property
    def unlabelled(self) -> np.ndarray:
        """Rows (n, d) without a label."""
        return np.asarray(self.rows[self.labels == UNLABELLED])

    def take(self, chosen: np.ndarray) -> "Pile":
        """Some of the images."""
        return Pile(self.rows[chosen], self.labels[chosen])


class Agreement(NamedTuple):
    """How often clusterings put images together.

    Attributes:
        known: (n, K), share of them in which an unlabelled image was given to a known type.
        tree: (n + K - 1, 4), what average linkage makes of known types and images, in this order,
            at distances of 1 minus the share.
    """

    known: np.ndarray
    tree: np.ndarray

    def owners(self, least: float, min_images: int) -> np.ndarray:
        """The type (n,) of each unlabelled image; ``UNLABELLED`` in a group that is too small.

        An image in a group with a known type is of that type; other groups are novel types.

        Args:
            least: Share of the clusterings in which images of a group are together, on average.
            min_images: Of a novel type.
        """
        num_known = self.known.shape[1]
        group = fcluster(self.tree, 1 - least, "distance")
        known, images = group[:num_known], group[num_known:]
        inside = images[:, None] == known
        owner = np.where(inside, self.known, -1).argmax(axis=1)
        novel = ~inside.any(axis=1)
        _, index, counts = np.unique(images[novel], return_inverse=True, return_counts=True)
        number = np.where(counts >= min_images, np.cumsum(counts >= min_images) - 1, UNLABELLED)
        owner[novel] = np.where(number < 0, UNLABELLED, number + num_known)[index]
        return np.asarray(owner)


def agreement(pile: Pile, num_known: int, max_types: int, stream: np.random.Generator) -> Agreement:
    """Cluster a pile many times.

    Args:
        pile: Its images.
        num_known: K, of which each has labelled images or counts for nothing.
        max_types: The most types, known and novel.
        stream: Decides parts and starts.
    """
    free = pile.unlabelled
    index = np.arange(num_known)
    together = np.zeros((num_known + len(free),) * 2, np.float32)
    numbers = _numbers(num_known, min(max_types, len(free)))
    for number in numbers:
        drawn = pile.take((pile.labels != UNLABELLED) | (stream.random(len(pile.labels)) < _PART))
        found = semi_supervised_kmeans(
            drawn.rows,
            drawn.labels,
            number,
            seed=int(stream.integers(2**31)),
            num_starts=1,
            max_iterations=_ITERATIONS,
        )
        nearest = squared_distances(free, found.centres).argmin(axis=1)
        member = np.concatenate([index, nearest])
        together += member[:, None] == member
    together /= len(numbers)
    without = np.setdiff1d(index, pile.labels)
    together[without] = together[:, without] = 0
    np.fill_diagonal(together, 1)
    tree = linkage(squareform(1 - together, checks=False), "average")
    return Agreement(together[num_known:, :num_known], tree)


def _numbers(num_known: int, most: int) -> list[int]:
    """Numbers of types to try, each as often as it is to be."""
    surplus = np.linspace(1, max(_LEAST_SURPLUS, _SURPLUS * num_known), _NUMBERS).round()
    tried = np.minimum(num_known + surplus.astype(int), max(num_known, most))
    return [int(number) for number in tried for _ in range(_REPEATS)]


def with_types(mixture: Mixture, pile: Pile, owner: np.ndarray, min_images: int) -> Mixture:
    """Fit the found types, beginning with an assignment; those that keep too few images go.

    Args:
        mixture: The known types.
        pile: Its images.
        owner: (n,), type of each unlabelled image, or ``UNLABELLED``.
        min_images: Of a found type.
    """
    rows, num_known = pile.unlabelled, mixture.num_known
    while True:
        num = max(num_known, int(owner.max(initial=-1)) + 1)
        counts = np.bincount(owner[owner >= 0], minlength=num)[num_known:]
        sums = class_sums(rows, owner, num)[num_known:]
        enough = counts >= min_images
        made = mixture.with_found(posterior(sums[enough], counts[enough], mixture.prior))
        made = maximise(made, rows)
        owner = made.assign(rows)
        left = np.bincount(owner, minlength=made.num_types)[num_known:]
        if (left >= min_images).all():
            return made


def fixed_number(
    mixture: Mixture, pile: Pile, num_types: int, seed: int, num_starts: int = 10
) -> Mixture:
    """Fit a given number of types, known and found, from the result of k-means."""
    begun = semi_supervised_kmeans(
        pile.rows, pile.labels, num_types, seed=seed, num_starts=num_starts, max_iterations=50
    )
    counts = np.bincount(begun.assigned, minlength=num_types)
    types = mixture.posterior(class_sums(pile.rows, begun.assigned, num_types), counts)
    return maximise(mixture.with_found(types.take(slice(mixture.num_known, None))), pile.unlabelled)
