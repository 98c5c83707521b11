"""Semi-supervised k-means: labelled rows stay in their class, other rows go to the nearest centre.

Of GCD (Vaze et al., CVPR 2022, arXiv:2201.02609), section 3.2. Centres of classes with labelled
rows start at their mean; the others start as k-means++ draws them (Arthur and Vassilvitskii, 2007).
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from owdfa.records.training import UNLABELLED


class Clusters(NamedTuple):
    """What k-means found.

    Attributes:
        assigned: (N,) int64: the centre of each row.
        centres: (K, D): the mean of the rows of each centre.
        inertia: Sum of the squared distances of all rows to their centres.
    """

    assigned: np.ndarray
    centres: np.ndarray
    inertia: float


def semi_supervised_kmeans(
    rows: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    seed: int,
    num_starts: int = 10,
    max_iterations: int = 200,
) -> Clusters:
    """Cluster rows, of which some have labels; the start with the least inertia counts.

    Args:
        rows: (N, D) float.
        labels: (N,) int64: a class in [0, num_classes), or ``UNLABELLED``. None needs to be
            labelled; then it is plain k-means.
        num_classes: K. Class k is centre k.
        seed: Decides the starts.
        num_starts: How often to start anew; once where no centre is drawn.
        max_iterations: Of each start.
    """
    stream = np.random.default_rng(seed)
    known, counts = np.unique(labels[labels != UNLABELLED], return_counts=True)
    centres = np.zeros((num_classes, rows.shape[1]), rows.dtype)
    centres[known] = class_sums(rows, labels, num_classes)[known] / counts[:, None]
    unlabelled = rows[labels == UNLABELLED]
    candidates = unlabelled if len(unlabelled) else rows
    missing = np.setdiff1d(np.arange(num_classes), known)
    best: Clusters | None = None
    for _ in range(num_starts if len(missing) else 1):
        uniform = stream.random(len(missing))
        centres[missing] = plus_plus(candidates, centres[known], uniform)
        found = iterate(rows, labels, centres, max_iterations)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


def plus_plus(rows: np.ndarray, centres: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draw further centres from rows, each with odds of its squared distance to the nearest one.

    Args:
        rows: (N, D), to draw from.
        centres: (K, D), those that are there; may be none.
        uniform: (M,) numbers in [0, 1), one for each centre to draw.

    Returns:
        (M, D).
    """
    far = np.full(len(rows), np.inf)
    if len(centres):
        far = squared_distances(rows, centres).min(axis=1)
    drawn = np.empty(len(uniform), np.int64)
    for number, chance in enumerate(uniform):
        odds = far if np.isfinite(far).all() and far.any() else np.ones(len(rows))
        total = np.cumsum(odds, dtype=np.float64)
        # Rows at distance 0 are never drawn: the first row whose sum exceeds the number is taken.
        index = np.searchsorted(total, chance * total[-1], side="right")
        drawn[number] = min(index, np.flatnonzero(odds)[-1])
        far = np.minimum(far, squared_distances(rows, rows[drawn[number]][None])[:, 0])
    return rows[drawn]


def iterate(
    rows: np.ndarray, labels: np.ndarray, centres: np.ndarray, max_iterations: int
) -> Clusters:
    """Assign rows and move centres to the means, until no assignment changes.

    A centre that no row goes to stays where it is.
    """
    free = labels == UNLABELLED
    moving, centres = rows[free], centres.copy()
    held = class_sums(rows, labels, len(centres))
    num_held = np.bincount(labels[~free], minlength=len(centres))
    nearest = np.full(len(moving), UNLABELLED)
    for _ in range(max_iterations):
        before, nearest = nearest, squared_distances(moving, centres).argmin(axis=1)
        counts = num_held + np.bincount(nearest, minlength=len(centres))
        sums = held + class_sums(moving, nearest, len(centres))
        used = counts > 0
        centres[used] = sums[used] / counts[used, None]
        if np.array_equal(before, nearest):
            break
    assigned = labels.copy()
    assigned[free] = nearest
    inertia = np.square(rows - centres[assigned], dtype=np.float64).sum()
    return Clusters(assigned, centres, float(inertia))


def squared_distances(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (N, K) of rows (N, D) to centres (K, D); none is negative."""
    lengths = np.square(rows).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * rows @ centres.T, 0))


def class_sums(rows: np.ndarray, assigned: np.ndarray, num: int) -> np.ndarray:
    """Sum (num, D) of the rows of each class; rows without one count for nothing."""
    chosen = np.flatnonzero(assigned != UNLABELLED)
    ones = np.ones(len(chosen), rows.dtype)
    member = csr_matrix((ones, (assigned[chosen], chosen)), shape=(num, len(rows)))
    return np.asarray(member @ rows)
