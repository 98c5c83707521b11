"""Agreement of clusters with classes, from a contingency table.

Everything here costs time and memory in the size of the table, not in the number of images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_ROUNDING = 1e-13  # share of a sum of logarithms that may be left of nothing


def contingency(
    classes: Int[np.ndarray, "images"],
    clusters: Int[np.ndarray, "images"],
    shape: tuple[int, int],
) -> Int[np.ndarray, "classes clusters"]:
    """Count the images of each class in each cluster.

    Args:
        classes: Class of each image, in ``range(shape[0])``.
        clusters: Cluster of each image, in ``range(shape[1])``.
        shape: Number of classes and of clusters.

    Example:
        >>> contingency(np.array([0, 0, 1]), np.array([2, 2, 0]), (2, 3)).tolist()
        [[0, 0, 2], [1, 0, 0]]
    """
    cells = classes.astype(np.int64)
    cells *= shape[1]
    cells += clusters
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def best_match(
    table: Int[np.ndarray, "classes clusters"], favoured: int = 0
) -> Int[np.ndarray, "classes"]:
    """Give each class a cluster of its own so that most images are in the cluster of their class.

    The Hungarian match. Among matches with equally many images, one with most images of the first
    ``favoured`` classes: so the share of those and of the rest is unique, and does not depend on
    how clusters are numbered (exactly so up to 90 million images, where float64 ends).

    Args:
        table: Images by class and cluster.
        favoured: How many classes to favour among equals.

    Returns:
        The cluster of each class; -1 for a class that shares no image with a cluster of its own.
    """
    from scipy.optimize import linear_sum_assignment

    gain = table * (1.0 + table.sum())
    gain[:favoured] += table[:favoured]
    rows, columns = linear_sum_assignment(gain, maximize=True)
    match = np.full(len(table), -1)
    together = table[rows, columns] > 0
    match[rows[together]] = columns[together]
    return match


def matched_images(
    table: Int[np.ndarray, "classes clusters"], match: Int[np.ndarray, "classes"]
) -> Int[np.ndarray, "classes"]:
    """Images of each class that lie in the cluster matched to it."""
    found = np.take_along_axis(table, np.maximum(match, 0)[:, None], axis=1)[:, 0]
    return np.where(match >= 0, found, 0)


class Counts(NamedTuple):
    """All that agreement needs to know of a contingency table."""

    rows: Int[np.ndarray, "classes"]  # images by class
    columns: Int[np.ndarray, "clusters"]  # images by cluster
    squares: int  # sum of the squares of the cells
    logarithms: float  # sum of n log n over the cells

    def stacked(self, below: "Counts") -> "Counts":
        """Of this table with that of other classes below it."""
        return Counts(
            np.concatenate([self.rows, below.rows]),
            self.columns + below.columns,
            self.squares + below.squares,
            self.logarithms + below.logarithms,
        )


def counts_of(table: Int[np.ndarray, "classes clusters"]) -> Counts:
    """Go through a table once, so that both measures below cost next to nothing."""
    squares = int(np.einsum("ij,ij->", table, table))
    return Counts(table.sum(axis=1), table.sum(axis=0), squares, _n_log_n(table))


def normalised_mutual_information(counts: Counts) -> float:
    """NMI, the mutual information over the mean of the two entropies: in [0, 1].

    1 when there is one class and one cluster, as in scikit-learn.
    """
    images, rows, columns = float(counts.rows.sum()), counts.rows, counts.columns
    if (rows > 0).sum() <= 1 and (columns > 0).sum() <= 1:
        return 1.0
    # In terms of s(n) = sum of n log n, times the number of images: the entropy of n is
    # s(all) - s(n), the mutual information s(table) - s(rows) - s(columns) + s(all).
    all_, by_class, by_cluster = images * np.log(images), _n_log_n(rows), _n_log_n(columns)
    information = counts.logarithms - by_class - by_cluster + all_
    if information <= _ROUNDING * all_:
        return 0.0
    return float(min(1.0, information / (all_ - (by_class + by_cluster) / 2)))


def adjusted_rand_index(counts: Counts) -> float:
    """ARI (Hubert and Arabie, 1985): agreement over pairs of images, 0 by chance, at most 1."""
    images, together = int(counts.rows.sum()), counts.squares
    same_class, same_cluster = int((counts.rows**2).sum()), int((counts.columns**2).sum())
    both, split, joined = together - images, same_class - together, same_cluster - together
    neither = images**2 - same_class - same_cluster + together
    if split == joined == 0:
        return 1.0
    chance = (both + split) * (split + neither) + (both + joined) * (joined + neither)
    return 2 * (both * neither - split * joined) / chance


def _n_log_n(counts: Int[np.ndarray, "..."]) -> float:
    """Sum of n log n, where 0 log 0 = 0; 1 log 1 is 0 as well."""
    number = counts[counts > 1].astype(np.float64)  # most cells of a large table hold less
    return float(number @ np.log(number))
