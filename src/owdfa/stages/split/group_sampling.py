"""Sampling whole groups so that every class comes as close as possible to its quota.

Pure functions of arrays. Randomness is the raw 64-bit stream of PCG64, which NumPy guarantees never
to change, ranked; so a draw is the same on every machine and with every version.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_WORK = 500_000  # entries to look at after the third sweep over shared groups: half a second


class Cells(NamedTuple):
    """How many images each group has of each class; one entry where there are any.

    Sorted by class, then by group.
    """

    classes: np.ndarray  # (cells,) int64
    groups: np.ndarray  # (cells,) int64
    counts: np.ndarray  # (cells,) int64, at least 1


def shuffled(size: int, *key: object) -> np.ndarray:
    """A permutation of ``range(size)`` that depends on ``key`` alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:16], "big")
    ranks = np.random.PCG64(seed).random_raw(size)
    return np.argsort(ranks, kind="stable")


def quota(num_images: np.ndarray | int, ratio: float) -> np.ndarray:
    """The share ``ratio`` of each number, to the nearest, with at least one on either side.

    Example:
        >>> quota(np.array([2000, 3, 1]), 0.2).tolist()
        [400, 1, 0]
    """
    most = np.maximum(num_images - 1, 0)
    nearest = np.floor(num_images * ratio + 0.5).astype(np.int64)
    return np.clip(nearest, np.minimum(1, most), most)


def pick_groups(sizes: np.ndarray, target: int) -> np.ndarray:
    """Take groups in the given order, each that still fits, up to ``target`` images.

    Afterwards no group that was left would bring the sum nearer to the target.

    Args:
        sizes: (groups,) images in each group.
        target: How many images to take.

    Returns:
        (groups,) bool, the groups taken.
    """
    taken = np.zeros(len(sizes), dtype=bool)
    while True:  # at most once for every distinct size
        open_ = np.flatnonzero(~taken & (sizes <= target))
        if target <= 0 or not len(open_):
            break
        fitting = open_[np.cumsum(sizes[open_]) <= target]
        taken[fitting] = True
        target -= int(sizes[fitting].sum())
    left = np.flatnonzero(~taken)
    if target > 0 and len(left):
        smallest = left[np.argmin(sizes[left])]
        taken[smallest] = sizes[smallest] < 2 * target  # a little above beats more below
    return taken


def sample_share(sizes: np.ndarray, ratio: float, *key: object) -> np.ndarray:
    """Sample about the share ``ratio`` of a class's images, in whole groups.

    Of two groups or more at least one is drawn and at least one is left; of one, none is drawn.

    Args:
        sizes: (groups,) images of the class in each group.
        ratio: In (0, 1).
        *key: What the draw depends on.

    Returns:
        (groups,) bool, the groups drawn.
    """
    order = shuffled(len(sizes), *key)
    drawn = np.zeros(len(sizes), dtype=bool)
    if len(sizes) < 2:
        return drawn
    target = int(quota(sizes.sum(), ratio))
    drawn[order] = pick_groups(sizes[order], target)
    if drawn.all() or not drawn.any():
        drawn[order[np.argmin(sizes[order])]] ^= True
    return drawn


def sample_groups(
    cells: Cells, num_groups: int, ratio: float, keys: Sequence[object]
) -> np.ndarray:
    """Sample whole groups so that about the share ``ratio`` of every class's images is drawn.

    Groups that several classes share go first, for their part of each class's quota; then each
    class is filled up with the groups that are its own. With one image a group every quota is met
    exactly. A class of two groups or more has at least one on either side, where that is possible.

    Args:
        cells: Images by class and group.
        num_groups: Groups are numbered below this.
        ratio: In (0, 1).
        keys: By class, what the draw among its own groups depends on; all of them together decide
            on shared groups.

    Returns:
        (num_groups,) bool, the groups drawn.
    """
    num_classes = len(keys)
    total = _per_class(cells, cells.counts, num_classes)
    target = quota(total, ratio) * (_per_class(cells, np.ones_like(cells.counts), num_classes) > 1)
    shared = (np.bincount(cells.groups, minlength=num_groups) > 1)[cells.groups]
    drawn = np.zeros(num_groups, dtype=bool)
    if shared.any():
        mixed = Cells(*(column[shared] for column in cells))
        part = _per_class(mixed, mixed.counts, num_classes) / np.maximum(total, 1)
        drawn |= _descend(mixed, num_groups, target * part, keys)
    missing = target - _per_class(cells, cells.counts * drawn[cells.groups], num_classes)
    bounds = np.searchsorted(cells.classes, np.arange(num_classes + 1))
    for class_, (start, stop) in enumerate(pairwise(bounds)):
        own = start + np.flatnonzero(~shared[start:stop])
        order = own[shuffled(len(own), keys[class_])]
        chosen = pick_groups(cells.counts[order], int(missing[class_]))
        drawn[cells.groups[order[chosen]]] = True
    return _both_sides(cells, drawn, num_classes)


def _per_class(cells: Cells, values: np.ndarray, num_classes: int) -> np.ndarray:
    """Sum of whole numbers over the cells of each class."""
    return np.bincount(cells.classes, values, num_classes).astype(np.int64)


def _descend(
    cells: Cells, num_groups: int, target: np.ndarray, keys: Sequence[object]
) -> np.ndarray:
    """Flip groups in and out, in shuffled order, while that brings the classes nearer to target.

    What falls is the sum over classes of ((images drawn - target) / target)^2.
    """
    cells = Cells(*(column[np.argsort(cells.groups, kind="stable")] for column in cells))
    groups, starts = np.unique(cells.groups, return_index=True)
    entries = list(zip(cells.classes.tolist(), cells.counts.tolist(), strict=True))
    members = [entries[a:b] for a, b in pairwise([*starts.tolist(), len(entries)])]
    missing = target.tolist()
    weight = (1 / np.maximum(target, 1) ** 2).tolist()
    sign = [1] * len(groups)  # -1 for a group that is drawn: flipping it gives its images back
    order = shuffled(len(groups), *keys).tolist()
    for _ in range(3 + _WORK // len(entries)):
        before = sign.copy()
        for group in order:
            change, step = 0.0, sign[group]
            for class_, count in members[group]:
                change += weight[class_] * count * (count - 2 * step * missing[class_])
            if change < -1e-12:  # a change of rounding alone could go on for ever
                for class_, count in members[group]:
                    missing[class_] -= step * count
                sign[group] = -step
        if sign == before:
            break
    drawn = np.zeros(num_groups, dtype=bool)
    drawn[groups[np.array(sign) < 0]] = True
    return drawn


def _both_sides(cells: Cells, drawn: np.ndarray, num_classes: int) -> np.ndarray:
    """Give a class that is all on one side its smallest group on the other, if no class suffers."""
    num_groups = _per_class(cells, np.ones_like(cells.counts), num_classes)
    for side in (False, True):  # first those of which nothing is drawn
        held = _per_class(cells, drawn[cells.groups] == side, num_classes)
        for class_ in np.flatnonzero((held == num_groups) & (num_groups > 1)):
            if held[class_] < num_groups[class_]:
                continue  # fixed by the move for another class
            mine = np.flatnonzero(cells.classes == class_)
            for cell in mine[np.argsort(cells.counts[mine], kind="stable")]:
                group = cells.groups[cell]
                members = cells.classes[cells.groups == group]
                if (held[members] > 1).all():
                    drawn[group] = not side
                    held[members] -= 1
                    break
    return drawn
