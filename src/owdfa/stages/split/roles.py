"""Which role each image is given: pure functions of the manifest's rows and a plan."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.checks.duplicates import join_copies
from owdfa.protocols import Budget, Classes, matches
from owdfa.records.rows import codes
from owdfa.records.split import ROLES
from owdfa.stages.split.group_sampling import Cells, sample_groups, sample_share, shuffled

LABELLED, UNLABELLED, VALIDATION, TEST, UNUSED = range(len(ROLES))
_NO_CLASS, _OTHER_CLASS = -1, -2


class Plan(NamedTuple):
    """What is asked for: the classes, and how many of their images each role is given."""

    classes: Classes
    budget: Budget
    labelled: float
    test: float
    validation: float
    seed: int
    labelled_sources: tuple[str, ...] = ()  # that labels come from; none named: all
    test_sources: tuple[str, ...] = ()  # that images to test on come from; none named: all

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


def assign_roles(rows: pa.Table, plan: Plan, groups: np.ndarray) -> np.ndarray:
    """Role of each row, as an index into ``ROLES``: (rows,) int8; no group is cut."""
    classes = class_codes(rows, plan)
    num_groups = int(groups.max(initial=-1)) + 1
    taken = np.flatnonzero(_within_budget(rows, classes, plan))
    keys, cell, counts = np.unique(
        classes[taken] * num_groups + groups[taken], return_inverse=True, return_counts=True
    )
    cells = Cells(*np.divmod(keys, num_groups), counts)
    tested = sample_groups(
        cells, num_groups, plan.test, [(plan.seed, "test", name) for name in plan.names]
    )
    roles = np.full(len(rows), UNUSED, dtype=np.int8)
    roles[taken] = _cell_roles(cells, tested[cells.groups], plan)[cell]
    roles[(classes == _NO_CLASS) & ~tested[groups]] = UNLABELLED
    if plan.labelled_sources:
        shown = (roles == LABELLED) | (roles == VALIDATION)
        roles[shown & ~from_sources(rows, plan.labelled_sources)] = UNLABELLED
    if plan.test_sources:
        roles[(roles == TEST) & ~from_sources(rows, plan.test_sources)] = UNUSED
    return roles


def from_sources(rows: pa.Table, patterns: tuple[str, ...]) -> np.ndarray:
    """Which images are from a source that matches one of the names or patterns: (rows,) bool."""
    there = pc.unique(rows["source"]).drop_null().to_pylist()
    named = [name for pattern in patterns for name in matches(pattern, there)]
    return np.asarray(pc.is_in(rows["source"], pa.array(named, pa.string())))


def _cell_roles(cells: Cells, tested: np.ndarray, plan: Plan) -> np.ndarray:
    """Role of each class's part of each group: (cells,) int8."""
    roles = np.where(tested, TEST, UNLABELLED).astype(np.int8)
    bounds = np.searchsorted(cells.classes, np.arange(len(plan.classes.known) + 1))
    for class_, name in enumerate(plan.classes.known):
        start, stop = bounds[class_], bounds[class_ + 1]
        training = start + np.flatnonzero(~tested[start:stop])
        if plan.labelled < 1 and len(training) > 1:
            key = (plan.seed, "labelled", name)
            training = training[sample_share(cells.counts[training], plan.labelled, key)]
        roles[training] = LABELLED
        if plan.validation > 0:
            key = (plan.seed, "validation", name)
            held = sample_share(cells.counts[training], plan.validation, key)
            roles[training[held]] = VALIDATION
    return roles


def _within_budget(rows: pa.Table, classes: np.ndarray, plan: Plan) -> np.ndarray:
    """Which images of the plan's classes are used at all: (rows,) bool.

    Images are drawn alone here, not by group: many groups in part show more than few in full, and
    what is unused leaks nothing.
    """
    used = classes >= 0
    if plan.budget == Budget():
        return used
    real = set(rows["class"].filter(pc.equal(pc.utf8_lower(rows["family"]), "real")).to_pylist())
    sources = codes(rows["source"])
    by_class = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[by_class], np.arange(len(plan.names) + 1))
    for class_, name in enumerate(plan.names):
        mine = by_class[bounds[class_] : bounds[class_ + 1]]
        mine = mine[shuffled(len(mine), (plan.seed, "budget", name))]
        cap = plan.budget.known if class_ < len(plan.classes.known) else plan.budget.novel
        if name in real:
            cap = plan.budget.real
            mine = _first_of_each(mine, sources[mine], plan.budget.real_per_source)
        used[by_class[bounds[class_] : bounds[class_ + 1]]] = False
        used[mine[:cap]] = True
    return used


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
