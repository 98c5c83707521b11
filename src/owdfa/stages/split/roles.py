"""Which role each image is given: pure functions of the manifest's rows and a plan."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.checks.duplicates import join_copies
from owdfa.protocols import Budget, Classes, Sources, matches
from owdfa.records.rows import codes, indices_of
from owdfa.records.split import ROLES
from owdfa.stages.split.group_sampling import Cells, sample_groups, sample_share, shuffled
from owdfa.stages.split.sources import EVERY, may_have

LABELLED, UNLABELLED, VALIDATION, TEST, UNUSED = range(len(ROLES))
_NO_CLASS, _OTHER_CLASS = -1, -2
TRAINED, OPEN = 0, -1  # what an earlier split says of a group, besides VALIDATION and TEST


class Plan(NamedTuple):
    """What is asked for: the classes, and how many of their images each role is given."""

    classes: Classes
    budget: Budget
    labelled: float
    test: float
    validation: float
    seed: int
    sources: Sources = EVERY  # resolved

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, known ones first."""
        return self.classes.known + self.classes.novel


def groups_of(rows: pa.Table, content: np.ndarray) -> np.ndarray:
    """Number the groups: (rows,) int64. Copies of a file are one group, with all that theirs hold.

    Args:
        rows: Of the manifest.
        content: Numbers of the files' contents, see ``duplicates.contents``.
    """
    ids = pc.coalesce(rows["group"], rows["id"])
    groups = np.arange(len(rows)) if ids.equals(rows["id"]) else codes(ids)
    return join_copies(groups, content)


def earlier_sides(rows: pa.Table, groups: np.ndarray, earlier: pa.Table) -> np.ndarray:
    """On which side of an earlier split each group was: (groups,) int8.

    A group of which any image was trained on is ``TRAINED``, whatever its others were.

    Args:
        rows: Of the manifest.
        groups: (rows,) int64.
        earlier: Id and role of the images of that split.
    """
    place = pc.index_in(earlier["role"], pa.array(ROLES)).to_numpy()
    side = np.array([TRAINED, TRAINED, VALIDATION, TEST, len(ROLES)], np.int8)[place]
    found = indices_of(rows["id"], earlier["id"])
    sides = np.full(int(groups.max(initial=-1)) + 1, len(ROLES), dtype=np.int8)
    there = found >= 0
    np.minimum.at(sides, groups[there], side[found[there]])
    sides[sides == len(ROLES)] = OPEN
    return sides


def assign_roles(
    rows: pa.Table, plan: Plan, groups: np.ndarray, sides: np.ndarray | None = None
) -> np.ndarray:
    """Role of each row, as an index into ``ROLES``: (rows,) int8; no group is cut.

    Where the sources leave an image one role, it has that one; the shares decide about the others.

    Args:
        rows: Of the manifest.
        plan: What is asked for.
        groups: (rows,) int64.
        sides: Of each group, see ``earlier_sides``; None where there is no earlier split.
    """
    classes = class_codes(rows, plan)
    allowed = may_have(rows["source"], plan.sources)
    allowed[classes >= len(plan.classes.known), 0] = False
    num_groups = int(groups.max(initial=-1)) + 1
    sides = np.full(num_groups, OPEN, np.int8) if sides is None else sides
    taken = np.flatnonzero(_within_budget(rows, classes, plan, np.any(allowed, axis=1)))
    keys, cell, counts = np.unique(
        classes[taken] * num_groups + groups[taken], return_inverse=True, return_counts=True
    )
    cells = Cells(*np.divmod(keys, num_groups), counts)
    able = np.stack([np.bincount(cell, each, len(keys)) for each in allowed[taken].T]).astype(int)
    tested = _tested_groups(cells, able, sides, plan)
    roles = np.full(len(rows), UNUSED, dtype=np.int8)
    roles[taken] = _cell_roles(cells, able, tested[cells.groups], sides, plan)[cell]
    roles[(classes == _NO_CLASS) & ~tested[groups]] = UNLABELLED
    by_role = np.column_stack([allowed[:, [0, 1, 0, 2]], np.ones(len(rows), dtype=bool)])
    roles[~by_role[np.arange(len(rows)), roles]] = UNUSED
    return roles


def _tested_groups(cells: Cells, able: np.ndarray, sides: np.ndarray, plan: Plan) -> np.ndarray:
    """The groups to test on: a share of those to train on too, and all others: (num_groups,) bool.

    Args:
        cells: Images by class and group.
        able: (3, cells) int64, how many of each cell may be labelled, unlabelled, tested on.
        sides: Of the groups in an earlier split; what was decided there stays.
        plan: What is asked for.
    """
    num_groups = len(sides)
    trainable = np.zeros(num_groups, dtype=bool)
    trainable[cells.groups[able[:2].any(axis=0)]] = True
    open_ = (able[2] > 0) & trainable[cells.groups] & (sides[cells.groups] == OPEN)
    # By all images, tested on or not: protocols that differ in test sources train on the same.
    chosen = Cells(*(column[open_] for column in cells))
    keys = [(plan.seed, "test", name) for name in plan.names]
    tested = sample_groups(chosen, num_groups, plan.test, keys)
    tested[sides == TEST] = True
    tested[cells.groups[~trainable[cells.groups]]] = True
    return tested


def _cell_roles(
    cells: Cells, able: np.ndarray, tested: np.ndarray, sides: np.ndarray, plan: Plan
) -> np.ndarray:
    """Role of each class's part of each group: (cells,) int8; see ``_tested_groups``."""
    roles = np.where(tested, TEST, UNLABELLED).astype(np.int8)
    bounds = np.searchsorted(cells.classes, np.arange(len(plan.classes.known) + 1))
    num_labelled, num_unlabelled, _ = able
    for class_, name in enumerate(plan.classes.known):
        start, stop = bounds[class_], bounds[class_ + 1]
        training = start + np.flatnonzero(~tested[start:stop] & (num_labelled[start:stop] > 0))
        either = training[num_unlabelled[training] > 0]
        if plan.labelled < 1 and len(either) > 1:
            key = (plan.seed, "labelled", name)
            left = either[~sample_share(num_labelled[either], plan.labelled, key)]
            training = training[~np.isin(training, left)]
        roles[training] = LABELLED
        if plan.validation > 0:
            key = (plan.seed, "validation", name)
            side = sides[cells.groups[training]]
            held, open_ = side == VALIDATION, side == OPEN
            held[open_] = sample_share(num_labelled[training[open_]], plan.validation, key)
            roles[training[held]] = VALIDATION
    return roles


def _within_budget(
    rows: pa.Table, classes: np.ndarray, plan: Plan, usable: np.ndarray
) -> np.ndarray:
    """Which of the usable images of the plan's classes are used: (rows,) bool.

    Images are drawn alone here, not by group: many groups in part show more than few in full, and
    what is unused leaks nothing.
    """
    used: np.ndarray = (classes >= 0) & usable
    if plan.budget == Budget():
        return used
    real = set(rows["class"].filter(pc.equal(pc.utf8_lower(rows["family"]), "real")).to_pylist())
    sources = codes(rows["source"])
    mine = [np.flatnonzero(used & (classes == class_)) for class_ in range(len(plan.names))]
    for class_, name in enumerate(plan.names):
        mine[class_] = mine[class_][shuffled(len(mine[class_]), (plan.seed, "budget", name))]
        if name in real:
            kinds = sources[mine[class_]]
            mine[class_] = _first_of_each(mine[class_], kinds, plan.budget.real_per_source)
    caps = class_caps(plan, [len(each) for each in mine], real)
    used[:] = False
    for each, cap in zip(mine, caps, strict=True):
        used[each[:cap]] = True
    return used


def class_caps(plan: Plan, sizes: list[int], real: set[str]) -> list[int]:
    """How many images of each class are used, in order of ``plan.names``.

    Args:
        plan: What is asked for.
        sizes: Images that each class has.
        real: Names of classes of real images.
    """
    budget, num_known = plan.budget, len(plan.classes.known)
    caps = [budget.known] * num_known + [budget.novel] * len(plan.classes.novel)
    caps = [budget.real if n in real else cap for n, cap in zip(plan.names, caps, strict=True)]
    most = [n if cap is None else min(n, cap) for n, cap in zip(sizes, caps, strict=True)]
    if budget.imbalance is not None:
        chosen = {"known": range(num_known), "novel": range(num_known, len(most))}
        in_tail = chosen.get(budget.imbalance_of, range(len(most)))
        tail = [class_ for class_ in in_tail if plan.names[class_] not in real]
        for class_, cap in _long_tail(most, tail, budget.imbalance, plan.seed).items():
            most[class_] = min(most[class_], cap)
    for pattern, cap in budget.limits.items():
        for name in matches(pattern, plan.names):
            most[plan.names.index(name)] = min(most[plan.names.index(name)], cap)
    return most


def _long_tail(sizes: list[int], tail: list[int], ratio: float, seed: int) -> dict[int, int]:
    """At most ``n ratio^(j / (C - 1))`` images of the j-th of C classes; n is the largest's number.

    The largest comes first, the others in an order that the seed decides.
    """
    order = [tail[i] for i in shuffled(len(tail), (seed, "imbalance"))]
    largest = max(order, key=sizes.__getitem__, default=-1)
    order.sort(key=lambda class_: class_ != largest)
    steps = max(len(order) - 1, 1)
    shares = [ratio ** (place / steps) for place in range(len(order))]
    return {c: max(round(sizes[order[0]] * s), 1) for c, s in zip(order, shares, strict=True)}


def _first_of_each(rows: np.ndarray, kinds: np.ndarray, most: int | None) -> np.ndarray:
    """The rows in order, without those that come after ``most`` of their kind."""
    if most is None:
        return rows
    kept = [np.flatnonzero(kinds == kind)[:most] for kind in np.unique(kinds)]
    return rows[np.sort(np.concatenate(kept))]


def class_codes(rows: pa.Table, plan: Plan) -> np.ndarray:
    """Class of each row as an index into ``plan.names``, or one of the codes below zero."""
    found = pc.index_in(rows["class"], pa.array(plan.names, pa.string()))
    codes = _integers(pc.fill_null(found, _OTHER_CLASS))
    codes[np.asarray(pc.is_null(rows["class"]))] = _NO_CLASS
    return codes


def _integers(values: pa.Array) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def names_of(roles: np.ndarray) -> pa.Array:
    """Names of roles that are given as indices into ``ROLES``."""
    return pa.DictionaryArray.from_arrays(pa.array(roles), pa.array(ROLES)).cast(pa.string())
