"""Regions in which embeddings lie dense, of up to some hundred thousand images.

HDBSCAN (Campello et al., 2013; scikit-learn) looks at a random part of the images, in the leading
principal components. In many dimensions it cuts one cloud of few images into pieces by chance, so
groups are put together whose members are as near to the other group as to their own. Every other
image joins the group of its nearest neighbour in that part, where it is as near as members of the
group are to each other. What is left is looked at again, so that small groups are found that the
first part held too few images of.
"""

import numpy as np
from scipy.sparse.csgraph import connected_components

from owdfa.clustering import semi_supervised_kmeans, squared_distances
from owdfa.records.training import UNLABELLED
from owdfa.whitening import unit_length

ALONE = -1  # the group of an image that is in none
_LEAST = 3  # images: fewer are no region
_SHARE = 0.005  # of the part: regions of fewer images count as noise
_PART = 4000  # images that HDBSCAN looks at: its time grows with the square
_ROUNDS = 5
_DIM = 32
_REACH = 95  # per cent of members of a group have a neighbour nearer than its reach
_TOUCH = 80  # the same, for two groups that are one
_AROUND = 0.5  # spreads: groups have the same centre where theirs are nearer
_CHUNK = 2048
_SMALLEST, _PER_GROUP, _RESAMPLED = 5, 100, 3000  # members, members, images


def components(embeddings: np.ndarray) -> np.ndarray:
    """Leading principal components (N, d) of embeddings (N, D) scaled to length 1."""
    rows = unit_length(embeddings.astype(np.float32))
    rows -= rows.mean(axis=0)
    _, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return np.asarray(rows @ vectors[:, ::-1][:, :_DIM].astype(np.float32))


def dense_groups(rows: np.ndarray, min_size: int, seed: int) -> np.ndarray:
    """Group rows by density.

    Args:
        rows: (N, d) float32, of ``components``.
        min_size: The least images of a group.
        seed: Decides the parts.

    Returns:
        (N,) int64: groups from 0 without gaps, or ``ALONE``.
    """
    stream = np.random.default_rng(seed)
    found = np.full(len(rows), ALONE)
    for _ in range(_ROUNDS):
        rest = np.flatnonzero(found == ALONE)
        whole = len(rest) <= _PART
        part = rest if whole else np.sort(stream.choice(rest, _PART, replace=False))
        labels = _regions(rows[part], _least(min_size, len(part), len(rest)))
        if labels.max(initial=ALONE) == ALONE:
            break
        joined = _join(rows[rest], rows[part], labels)
        joined[np.searchsorted(rest, part[labels != ALONE])] = labels[labels != ALONE]
        found[rest] = np.where(joined == ALONE, ALONE, joined + found.max() + 1)
        if whole:
            break
    return _without_small(_pieces_joined(rows, found, stream), min_size)


def dense_groups_among(
    rows: np.ndarray, others: np.ndarray, min_size: int, seed: int
) -> np.ndarray:
    """Group rows by density beside others, which show how close images of one type are.

    A pile of one type has no scale of its own: it could as well be noise. A group of which most
    are others is none: its rows are like a type that is known.

    Args:
        rows: (N, d) float32, of ``components``.
        others: (N,) bool: rows that are in no group.
        min_size: The least images of a group.
        seed: Decides the parts.

    Returns:
        (N,) int64: groups from 0 without gaps, or ``ALONE``.
    """
    found = dense_groups(rows, min_size, seed)
    there = found != ALONE
    num = found.max(initial=ALONE) + 1
    beside = np.bincount(found[there & others], minlength=num)
    own = np.bincount(found[there & ~others], minlength=num)
    dropped = np.append(beside > own, False)[found]  # the last is for those that are alone
    return _without_small(np.where(others | dropped, ALONE, found), min_size)


def stability(
    rows: np.ndarray, groups: np.ndarray, min_size: int, num_parts: int, seed: int
) -> list[float | None]:
    """Mean Jaccard index of each group with the nearest one found in parts of the images.

    Hennig, Cluster-wise assessment of cluster stability (Computational Statistics & Data Analysis,
    2007). A part holds two thirds of each group, 100 images of it at most, and as large a share of
    the images in none; drawn without replacement, since copies would be regions by themselves.

    Args:
        rows: (N, d).
        groups: (N,) int64 from 0, or ``ALONE``.
        min_size: As for ``dense_groups``.
        num_parts: How many parts; 0 for none.
        seed: Decides the parts.

    Returns:
        Of each group; None where it is too small, or there are no parts.
    """
    stream, num = np.random.default_rng(seed), int(groups.max(initial=ALONE)) + 1
    sums, counts = np.zeros(num), np.zeros(num, np.int64)
    for _ in range(num_parts):
        part = _part_of(groups, num, stream)
        least = _least(min_size, len(part), len(rows))
        found = _regions(rows[part], least)
        before = groups[part]
        sizes = np.bincount(before[before != ALONE], minlength=num)
        for group in np.flatnonzero(sizes >= _LEAST):
            sums[group] += _best_jaccard(before == group, found)
            counts[group] += 1
    return [float(s / c) if c else None for s, c in zip(sums, counts, strict=True)]


def two_parts(rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """Which rows (N, d) belong to the smaller of two halves, by 2-means: (N,) bool."""
    none = np.full(len(rows), UNLABELLED)
    found = semi_supervised_kmeans(rows.astype(np.float64), none, 2, seed=seed).assigned
    return np.asarray(found == np.bincount(found, minlength=2).argmin())


def _regions(rows: np.ndarray, least: int) -> np.ndarray:
    """Groups of all rows (N,), from 0, or ``ALONE``; one group where there are no several."""
    if len(rows) < max(least, _LEAST):
        return np.full(len(rows), ALONE)
    labels = _hdbscan(rows, least, single=False)
    if labels.max() == ALONE:
        return _hdbscan(rows, least, single=True)
    return _together(rows, labels)


def _hdbscan(rows: np.ndarray, least: int, *, single: bool) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    clusterer = HDBSCAN(
        min_cluster_size=least, min_samples=_LEAST, allow_single_cluster=single, copy=True
    )
    return np.asarray(clusterer.fit(rows).labels_, np.int64)


def _together(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Put groups together that are one.

    Half the members of each are as near to the other group as to their own; or both have the same
    centre, as what a part has left over of a group lies around it.
    """
    order = np.argsort(labels, kind="stable")[(labels == ALONE).sum() :]
    members, own = rows[order], labels[order]
    num = int(own[-1]) + 1
    starts = np.searchsorted(own, np.arange(num))
    touches = np.zeros((num, num), bool)
    centres, spread = np.zeros((num, rows.shape[1]), rows.dtype), np.zeros(num)
    for group in range(num):
        chosen = np.flatnonzero(own == group)
        centres[group] = members[chosen].mean(axis=0)
        spread[group] = np.median(squared_distances(members[chosen], centres[group][None]))
        distances = squared_distances(members[chosen], members)
        distances[np.arange(len(chosen)), chosen] = np.inf
        nearest = np.minimum.reduceat(distances, starts, axis=1)  # (members, groups)
        limit = np.percentile(nearest[:, group], _TOUCH)
        touches[group] = np.median(nearest, axis=0) <= limit
    around = squared_distances(centres, centres) <= _AROUND**2 * np.minimum.outer(spread, spread)
    _, joined = connected_components((touches & touches.T) | around, directed=False)
    return np.where(labels == ALONE, ALONE, joined[np.maximum(labels, 0)])


def _pieces_joined(rows: np.ndarray, found: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Put groups of several parts together where they are one, by some members of each."""
    if found.max(initial=ALONE) < 1:
        return found
    part = np.concatenate(
        [
            stream.permutation(np.flatnonzero(found == group))[:_PER_GROUP]
            for group in range(found.max() + 1)
        ]
    )
    joined = np.zeros(found.max() + 1, np.int64)
    joined[found[part]] = _together(rows[part], found[part])
    return np.where(found == ALONE, ALONE, joined[np.maximum(found, 0)])


def _least(min_size: int, num: int, total: int) -> int:
    """The least images of a group in ``num`` of ``total`` images."""
    return max(_LEAST, round(min_size * num / total), round(_SHARE * num))


def _join(rows: np.ndarray, part: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The group of the nearest row of ``part`` where that is near enough, else ``ALONE``: (N,)."""
    members = np.flatnonzero(labels != ALONE)
    within = _nearest(part[members], part[members], own=True)[1]
    reach = np.zeros(int(labels.max()) + 1)
    for group in range(len(reach)):
        reach[group] = np.percentile(within[labels[members] == group], _REACH)
    # Neighbours outside all groups count too: an image among those is as alone as they are.
    nearest, distance = _nearest(rows, part)
    found = labels[nearest]
    near = (found != ALONE) & (distance <= reach[np.maximum(found, 0)])
    return np.where(near, found, ALONE)


def _nearest(
    rows: np.ndarray, others: np.ndarray, *, own: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest of ``others`` (M, d) of each row (N, d), and its squared distance.

    Args:
        rows: (N, d).
        others: (M, d).
        own: Whether both are the same rows, and none is its own neighbour.
    """
    index, least = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    for first in range(0, len(rows), _CHUNK):
        found = squared_distances(rows[first : first + _CHUNK], others)
        if own:
            found[np.arange(len(found)), first + np.arange(len(found))] = np.inf
        index[first : first + _CHUNK] = found.argmin(axis=1)
        least[first : first + _CHUNK] = found.min(axis=1)
    return index, least


def _without_small(found: np.ndarray, min_size: int) -> np.ndarray:
    """Groups of fewer images dissolved, the others numbered without gaps."""
    names, places, counts = np.unique(found, return_inverse=True, return_counts=True)
    kept = (names != ALONE) & (counts >= min_size)
    numbers = np.where(kept, np.cumsum(kept) - 1, ALONE)
    return np.asarray(numbers[places])


def _part_of(groups: np.ndarray, num: int, stream: np.random.Generator) -> np.ndarray:
    """A part of the images for ``stability``: indices."""
    most = max(_SMALLEST, min(_PER_GROUP, _RESAMPLED // max(num, 1)))
    chosen, share = [], 1.0
    for group in range(num):
        members = np.flatnonzero(groups == group)
        size = min(most, max(_LEAST, round(len(members) * 2 / 3)), len(members))
        share = min(share, size / len(members))
        chosen.append(stream.choice(members, size, replace=False))
    alone = np.flatnonzero(groups == ALONE)
    chosen.append(stream.choice(alone, min(int(share * len(alone)), _RESAMPLED), replace=False))
    return np.sort(np.concatenate(chosen))


def _best_jaccard(members: np.ndarray, found: np.ndarray) -> float:
    """Greatest Jaccard index of members (N,) bool with a group of ``found`` (N,)."""
    there = found != ALONE
    shared = np.bincount(found[members & there], minlength=1)
    sizes = np.bincount(found[there], minlength=len(shared))[: len(shared)]
    union = sizes + members.sum() - shared
    return float((shared / np.maximum(union, 1)).max())
