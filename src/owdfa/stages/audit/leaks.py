"""Leaks: what training has seen of the images that are tested on."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from owdfa.records.rows import codes
from owdfa.records.split import ROLES
from owdfa.stages.audit.findings import MAX_PAIRS, Finding, Pair
from owdfa.stages.audit.images import IDENTITY, NOT_USED, TEST, TRAINING, Images


def leaks(images: Images) -> Iterator[Finding]:
    """Groups and persons on both sides of a split; within a class, in two roles of training."""
    if images.split is None:
        return
    paper = images.split.basis.rule == "paper"
    helps = "split by --rule group" if paper else "split again"
    yield from _across(images, images.groups, ("group", "groups"), helps)
    yield from _within_classes(images, helps)
    if IDENTITY in images.table.column_names:
        known = np.asarray(pc.is_valid(images.table[IDENTITY]))
        persons = np.where(known, codes(images.table[IDENTITY]), -1)
        helps = "make the identity the group: data scan --group-regex or --group-level"
        yield from _across(images, persons, ("identity", "identities"), helps)


def _across(
    images: Images, groups: np.ndarray, noun: tuple[str, str], helps: str
) -> Iterator[Finding]:
    """Groups of which an image is trained on and another tested on; negative ones do not count."""
    sides = images.sides
    used = (groups >= 0) & (sides != NOT_USED)
    both = np.intersect1d(groups[used & (sides == TRAINING)], groups[used & (sides == TEST)])
    if not len(both):
        return
    tested = used & (sides == TEST) & np.isin(groups, both)
    names = noun[len(both) > 1]
    line = (
        f"{len(both)} {names} in training and in test: {int(tested.sum())} of"
        f" {int((sides == TEST).sum())} test images; {helps}"
    )
    pairs = tuple(_pair(groups, sides, group, used) for group in both[:MAX_PAIRS])
    yield Finding(f"{noun[0]} on both sides", line, is_leak=True, pairs=pairs)


def _pair(groups: np.ndarray, sides: np.ndarray, group: int, used: np.ndarray) -> Pair:
    """A test image of a group, and one of it that is trained on."""
    mine = used & (groups == group)
    test = int(np.flatnonzero(mine & (sides == TEST))[0])
    return Pair(test, int(np.flatnonzero(mine & (sides == TRAINING))[0]))


def _within_classes(images: Images, helps: str) -> Iterator[Finding]:
    """Groups that give a hidden label away: labelled, and unlabelled or held back, in one class."""
    labelled = images.roles == ROLES.index("labelled")
    hidden = np.isin(images.roles, [ROLES.index("unlabelled"), ROLES.index("validation")])
    cells = images.classes * (int(images.groups.max()) + 1) + images.groups
    valid = images.classes >= 0
    both = np.intersect1d(cells[valid & labelled], cells[valid & hidden])
    if not len(both):
        return
    num = int((valid & hidden & np.isin(cells, both)).sum())
    line = (
        f"{len(both)} {'groups' if len(both) > 1 else 'group'} of one class both labelled and not:"
        f" the labels of {num} images are given away by others of their group; {helps}"
    )
    pairs = []
    for cell in both[:MAX_PAIRS]:
        mine = valid & (cells == cell)
        one, other = np.flatnonzero(mine & hidden)[0], np.flatnonzero(mine & labelled)[0]
        pairs.append(Pair(int(one), int(other)))
    yield Finding("hidden labels", line, is_leak=True, pairs=tuple(pairs))
