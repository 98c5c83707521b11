"""Ids that last: which new group is which old one, and what became of the others.

Groups are matched by the images that they share; those that share none, by their centres.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from owdfa.clustering import squared_distances
from owdfa.records.clusters import Change, Lineage

_SAME = 0.3  # Jaccard index, of images in groups both times, from which a group is the old one
_DIGITS = 4  # of an id
_HALF = 0.5


class Region(NamedTuple):
    """Where a group lies: None and 0 where that is not known, or not comparable."""

    centre: np.ndarray | None  # (D,)
    spread: float


class Matched(NamedTuple):
    """Groups with their ids.

    Attributes:
        members: Images of each group, by id.
        lineage: What became of each, by id.
        gone: Ids of groups that are no more, and those that most of their images went to.
    """

    members: dict[str, frozenset[str]]
    lineage: dict[str, Lineage]
    gone: dict[str, tuple[str, ...]]


def match_groups(
    found: Sequence[frozenset[str]],
    before: Mapping[str, frozenset[str]],
    held: Mapping[str, frozenset[str]],
    used: Collection[str],
    regions: tuple[Sequence[Region], Mapping[str, Region]] | None = None,
) -> Matched:
    """Give groups the ids of those that they were.

    Args:
        found: Images of each group that was found; no image is in two.
        before: Images of each group as it was, by id.
        held: Of these, the images that stay in it, whatever is found.
        used: Ids that no new group may have, besides those of ``before``.
        regions: Of ``found`` and of ``before``, where groups are to be matched by centre, too.
    """
    fixed = {image: id_ for id_, images in held.items() for image in images}
    same = _by_members(found, before)
    if regions is not None:
        same |= _by_centre(regions[0], regions[1], same)
    members: dict[str, frozenset[str]] = {id_: images for id_, images in held.items() if images}
    own = set()  # groups that were found, in whatever way
    taken = {*used, *before}
    for number, images in enumerate(found):
        free = frozenset(image for image in images if image not in fixed)
        id_ = same.get(number) or _held_by(images, fixed)
        if id_ is None and not free:
            continue
        if id_ is None:
            id_ = new_id(free, taken)
            taken.add(id_)
        members[id_] = members.get(id_, frozenset()) | free
        own.add(id_)
    members = {id_: images for id_, images in members.items() if images}
    origin = {image: id_ for id_, images in before.items() for image in images}
    gone = {id_: images for id_, images in before.items() if id_ not in members}
    lineage = {id_: _lineage(id_, images, before, origin, gone) for id_, images in members.items()}
    for id_ in members.keys() - own:
        lineage[id_] = lineage[id_].model_copy(update={"change": "kept"})
    now = {image: id_ for id_, images in members.items() for image in images}
    return Matched(members, lineage, {id_: _heirs(images, now) for id_, images in gone.items()})


def new_id(images: Collection[str], used: Collection[str]) -> str:
    """An id that is not in use: digits of a digest of the images, as many as are needed."""
    digest = hashlib.sha256("".join(sorted(images)).encode()).hexdigest()
    for digits in range(_DIGITS, len(digest)):
        if (id_ := f"novel-{digest[:digits]}") not in used:
            return id_
    raise ValueError("every id is in use")


def _by_members(
    found: Sequence[frozenset[str]], before: Mapping[str, frozenset[str]]
) -> dict[int, str]:
    """Ids of found groups, by number, where enough of the images are those of an old group."""
    ids = sorted(before)
    old = {image: row for row, id_ in enumerate(ids) for image in before[id_]}
    shared = np.zeros((len(ids), len(found)))
    for column, images in enumerate(found):
        for row, count in Counter(old[image] for image in images if image in old).items():
            shared[row, column] = count
    # Images that were seen once alone say nothing of what became of a group.
    sizes = shared.sum(axis=1)[:, None]
    union = sizes + shared.sum(axis=0) - shared
    # Of several small groups in one, none may have much of it: the largest that went there counts.
    alike = (shared >= _SAME * np.maximum(union, 1)) | (shared > _HALF * np.maximum(sizes, 1))
    rows, columns = linear_sum_assignment(-shared * alike)
    return {
        int(column): ids[row]
        for row, column in zip(rows, columns, strict=True)
        if alike[row, column]
    }


def _by_centre(
    found: Sequence[Region], before: Mapping[str, Region], same: Mapping[int, str]
) -> dict[int, str]:
    """The same of groups that share no images: each is nearest to the other, and within reach."""
    matched = set(same.values())
    old = {i: r for i, r in before.items() if i not in matched and r.centre is not None}
    new = {n: r for n, r in enumerate(found) if n not in same and r.centre is not None}
    if not old or not new:
        return {}
    ids, numbers = list(old), list(new)
    centres = [np.stack([r.centre for r in each.values() if r.centre is not None])
               for each in (old, new)]  # fmt: skip
    distances = np.sqrt(squared_distances(*centres))
    pairs = {}
    for row, id_ in enumerate(ids):
        column = int(distances[row].argmin())
        reach = max(old[id_].spread, new[numbers[column]].spread)
        if distances[:, column].argmin() == row and distances[row, column] <= reach:
            pairs[numbers[column]] = id_
    return pairs


def _held_by(images: frozenset[str], fixed: Mapping[str, str]) -> str | None:
    """The group that most of the images stay in: a reviewer says that what was found is part of it.

    Args:
        images: Of a group that was found.
        fixed: The group that an image stays in, by image.
    """
    held = Counter(fixed[image] for image in images if image in fixed)
    return next((each for each, count in held.most_common(1) if count > _HALF * len(images)), None)


def _lineage(
    id_: str,
    images: frozenset[str],
    before: Mapping[str, frozenset[str]],
    origin: Mapping[str, str],
    gone: Collection[str],
) -> Lineage:
    """What became of a group that was found."""
    came = Counter(origin[image] for image in images if image in origin)
    taken_in = tuple(
        each for each in came if each in gone and came[each] >= _HALF * len(before[each])
    )
    if id_ not in before:
        parts = tuple(each for each, count in came.items() if count >= _HALF * came.total())
        sources = taken_in or parts
        return Lineage(
            change="merged" if taken_in else "split" if parts else "new", sources=sources
        )
    num = len(before[id_])
    if taken_in:
        return Lineage(change="merged", num_before=num, sources=taken_in)
    gained, lost = bool(images - before[id_]), bool(before[id_] - images)
    change: Change = ("changed" if lost else "grew") if gained else ("shrank" if lost else "same")
    return Lineage(change=change, num_before=num)


def _heirs(images: frozenset[str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The group that most of the images of a former group are in; none where they are in none."""
    went = Counter(now[image] for image in images if image in now)
    return tuple(each for each, count in went.most_common(1) if count >= _HALF * len(images))
