"""What the pages say of groups: cards, the order of a group's images, two groups side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from owdfa.case import Entry, Item
from owdfa.case.actions import Group
from owdfa.case.lines import ATTRIBUTED
from owdfa.case.review import Review, statistics
from owdfa.images.features import FEATURES, StoredFeatures
from owdfa.records.clusters import Cluster, Signature
from owdfa.serve.place import Place
from owdfa.stages.discover.clusters import UNNAMED
from owdfa.stages.discover.describing import main_verdict
from owdfa.whitening import unit_length

Show = Literal["all", "unnamed", "named", "rejected"]
Sort = Literal["todo", "size", "stability", "name"]
Order = Literal["typical", "odd", "file"]
SHOWS: tuple[Show, ...] = get_args(Show)
SORTS: tuple[Sort, ...] = get_args(Sort)
ORDERS: tuple[Order, ...] = get_args(Order)
NONE = "none"
"""Stands for the images that are in no group, where an id of a group could."""
_STATES = ("unnamed", "named", "rejected")
NUM_COLOURS = 8  # --map-1 to --map-8 of map.css; 0 stands for --map-rest
PAGE = 120  # images that are asked for at a time
_STABLE, _ARBITRARY = 0.75, 0.5  # Hennig (2007)
_EXEMPLARS = 6


@dataclass(frozen=True)
class Card:
    """A group, and what is shown of it.

    Attributes:
        group: The group as it is.
        measured: What ``discover`` measured; None where it was made since.
        colour: Number of its colour, from 1; 0 for grey.
        exemplars: Some of its images, those nearest to its centre where that is known.
    """

    group: Group
    measured: Cluster | None
    colour: int
    exemplars: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its name, or its id."""
        return self.group.name or self.group.id

    @property
    def size(self) -> int:
        """Number of its images."""
        return len(self.group.members)

    @property
    def state(self) -> Show:
        """What was decided of it."""
        if self.group.rejected:
            return "rejected"
        return "named" if self.group.name else "unnamed"

    @property
    def is_as_found(self) -> bool:
        """Whether it has the images that were measured."""
        return self.measured is not None and set(self.measured.members) == self.group.members

    @property
    def history(self) -> list[str]:
        """Where its images come from, in words."""
        if self.measured is None:
            return ["made by review"]
        found = [f"{self.measured.lineage.words} when found"]
        return found if self.is_as_found else [*found, f"{len(self.measured.members):,} then"]

    @property
    def decided(self) -> tuple[str, Signature] | None:
        """What was said of it, and by whom."""
        if self.group.rejected:
            return "rejected", self.group.rejected
        return ("named", self.group.named) if self.group.named and self.group.name else None

    @property
    def stability(self) -> str:
        """How stable it is, in a number and a word."""
        value = None if self.measured is None else self.measured.stability
        if value is None:
            return "not measured"
        word = "stable" if value > _STABLE else "uncertain" if value >= _ARBITRARY else "arbitrary"
        return f"{value:.2f}, {word}"


class Comparison(NamedTuple):
    """Two groups side by side; distances are of embeddings of length 1."""

    distance: float  # of their centres
    within: float  # mean of their spreads
    strays: tuple[float, float]  # share of each whose images are nearer to the other centre

    @property
    def alike(self) -> bool:
        """Whether they overlap, so that they may be one type."""
        return self.distance < self.within


def deck(review: Review) -> dict[str, Card]:
    """All groups of a case, by id."""
    measured, colour = statistics(review), colours(review)
    return {
        id_: Card(group, measured.get(id_), colour[id_], _exemplars(group, measured.get(id_)))
        for id_, group in review.state.groups.items()
    }


def in_order(found: Iterable[Card], sort: Sort = "todo") -> list[Card]:
    """Groups in an order.

    Args:
        found: The groups.
        sort: ``todo`` has unnamed ones first and rejected ones last; of these, and by ``size``,
            the largest comes first. ``stability`` has the most stable first.
    """
    keys: Mapping[Sort, Callable[[Card], tuple[object, ...]]] = {
        "todo": lambda each: (_STATES.index(each.state), -each.size),
        "size": lambda each: (-each.size,),
        "stability": lambda each: (-((each.measured and each.measured.stability) or 0.0),),
        "name": lambda each: (each.title.casefold(),),
    }
    return sorted(found, key=lambda each: (*keys[sort](each), each.group.id))


def colours(review: Review) -> dict[str, int]:
    """Number of the colour of each group, by id: the eight that ``discover`` found largest.

    A group keeps its colour whatever reviewers do; one that they made takes one that is free.
    """
    ids = [*statistics(review), *review.state.groups]
    there = [id_ for id_ in dict.fromkeys(ids) if id_ in review.state.groups]
    found = list(statistics(review))[:NUM_COLOURS]
    used = {id_: number + 1 for number, id_ in enumerate(found) if id_ in there}
    free = iter(sorted(set(range(1, NUM_COLOURS + 1)) - set(used.values())))
    return {id_: used.get(id_) or next(free, 0) for id_ in there}


def known_types(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Names of the known types of the run that gave the last verdict."""
    last = next((each for each in reversed(entries) if each.what == ATTRIBUTED), None)
    if last is None:
        return ()
    about = last.data["attribution"]
    return tuple(about["classes"][: about["num_known"]])


def ungrouped(place: Place) -> tuple[str, ...]:
    """Images that no known type was named for, and that are in no group, by path."""
    return _ungrouped(place, place.case().head) if place.begun else ()


@lru_cache(maxsize=2)
def _ungrouped(place: Place, head: str) -> tuple[str, ...]:  # noqa: ARG001  until the next line
    items = place.items()
    grouped = {x for group in place.review().state.groups.values() for x in group.members}
    found = (
        sha256
        for sha256, item in items.items()
        if sha256 not in grouped and item.verdict.video is None and is_unnamed(item)
    )
    return tuple(sorted(found, key=lambda x: (items[x].verdict.path, x)))


def is_unnamed(item: Item) -> bool:
    """Whether no known type was named for a file."""
    return main_verdict(item.verdict).outcome.kind in UNNAMED


def ordered(place: Place, images: frozenset[str], order: Order) -> tuple[str, ...]:
    """Images of a group in an order.

    Args:
        place: Where the case is.
        images: SHA-256 of each.
        order: ``typical`` has those nearest to the centre first, ``odd`` those farthest out; those
            without an embedding are last. ``file`` is that of their paths.
    """
    clusters = place.review().clusters
    if order == "file" or clusters is None:
        items = place.items()
        names = {x: items[x].verdict.path if x in items else "" for x in images}
        return tuple(sorted(images, key=lambda x: (names[x], x)))
    near, rest = _by_distance(_key(place.folder, clusters.embedding), images)
    return (*(near if order == "typical" else near[::-1]), *rest)


def compare(place: Place, a: Group, b: Group) -> Comparison | None:
    """Two groups by their embeddings; None where one has none."""
    clusters = place.review().clusters
    if clusters is None:
        return None
    kept = features(place.folder, clusters.embedding)
    rows = [_rows(kept, group.members)[1] for group in (a, b)]
    if not all(len(each) for each in rows):
        return None
    centres = [each.mean(axis=0) for each in rows]
    own = [
        np.linalg.norm(each - centre, axis=1) for each, centre in zip(rows, centres, strict=True)
    ]
    other = [
        np.linalg.norm(rows[0] - centres[1], axis=1),
        np.linalg.norm(rows[1] - centres[0], axis=1),
    ]
    return Comparison(
        float(np.linalg.norm(centres[0] - centres[1])),
        float(np.mean([np.median(each) for each in own])),
        (float((other[0] < own[0]).mean()), float((other[1] < own[1]).mean())),
    )


def nearest_groups(place: Place, group: Group) -> list[tuple[str, float | None]]:
    """Ids of the other groups, and how far their centres are; the nearest first."""
    review = place.review()
    assert review.clusters is not None
    kept, measured = features(place.folder, review.clusters.embedding), statistics(review)
    centres = {}
    for other in review.state.groups.values():
        about = measured.get(other.id)
        if about is not None and set(about.members) == other.members and any(about.centre):
            centres[other.id] = np.array(about.centre, np.float32)
        elif len(rows := _rows(kept, other.members)[1]):
            centres[other.id] = rows.mean(axis=0)
    own = centres.pop(group.id, None)
    found: list[tuple[str, float | None]] = [(id_, None) for id_ in review.state.groups]
    if own is not None:
        far = {id_: float(np.linalg.norm(each - own)) for id_, each in centres.items()}
        found = [(id_, far.get(id_)) for id_, _ in found]
    found.sort(key=lambda each: (each[1] is None, each[1], each[0]))
    return [each for each in found if each[0] != group.id]


def features(case: Path, digest: str) -> StoredFeatures:
    """The embeddings of a case, kept while no more are added."""
    return _opened(_key(case, digest))


def _key(case: Path, digest: str) -> tuple[Path, str, int]:
    return case, digest, len(list((case / FEATURES / digest).glob("*.npy")))


@lru_cache(maxsize=2)
def _opened(key: tuple[Path, str, int]) -> StoredFeatures:
    return StoredFeatures.open(*key[:2])


def _rows(kept: StoredFeatures, images: frozenset[str]) -> tuple[list[str], np.ndarray]:
    """Those of some images that have an embedding, and these, of length 1."""
    names = sorted(images)
    lacking = set(kept.missing(names).tolist())
    there = [name for row, name in enumerate(names) if row not in lacking]
    return there, unit_length(kept.read(there)) if there else np.zeros((0, 1), np.float32)


@lru_cache(maxsize=32)
def _by_distance(
    key: tuple[Path, str, int], images: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Images by their distance to the mean, the nearest first, and those without an embedding."""
    there, rows = _rows(_opened(key), images)
    rest = tuple(sorted(images - set(there)))
    if not there:
        return (), rest
    near = np.argsort(np.linalg.norm(rows - rows.mean(axis=0), axis=1), kind="stable")
    return tuple(there[row] for row in near), rest


def _exemplars(group: Group, measured: Cluster | None) -> tuple[str, ...]:
    central = measured.central if measured else ()
    there = [each for each in central if each in group.members]
    rest = sorted(group.members)[: _EXEMPLARS + len(there)]
    return tuple(dict.fromkeys([*there, *rest]))[:_EXEMPLARS]
