"""The number of types: births, splits and merges, each decided by images that did not propose it.

It begins with the known types. Every pool of unlabelled images, those given to a known type, to a
found one, or to none, is tested against two types (:mod:`owdfa.plda.evidence`): a known pool for
intruders, the pool of none for a birth, a found one for a split. Whatever passes becomes a type, the
mixture is fitted again, and so on until nothing passes. Then found types that the same test does
not tell apart from a near type are merged.
"""

from typing import NamedTuple

import numpy as np

from owdfa.clustering import semi_supervised_kmeans, squared_distances
from owdfa.plda.evidence import Gain, Thresholds, pair_gain, proposal, split_gain
from owdfa.plda.mixture import Mixture, maximise
from owdfa.plda.model import Types, posterior, unseen
from owdfa.plda.space import class_sums
from owdfa.records.training import UNLABELLED

_NEIGHBOURS = 2  # types that a found one may be merged with: it is not more like any other
_ROUNDS = 50  # never reached so far; every round adds a type or is the last


class Limits(NamedTuple):
    """What a found type must show.

    Attributes:
        thresholds: Gain of an image that known types stay below.
        level: 1 minus this is the probability of a birth from one type, over all pools of a round.
        min_images: Images of the smallest type. With fewer than 20, a half has fewer than ten, and
            its mean says little in 32 directions.
        max_types: Of known and found ones together.
    """

    thresholds: Thresholds
    level: float = 0.95
    min_images: int = 20
    max_types: int = 1000


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
        return self.rows[self.labels == UNLABELLED]

    @property
    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows with a label, and the labels."""
        chosen = self.labels != UNLABELLED
        return self.rows[chosen], self.labels[chosen]


def search(mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator) -> Mixture:
    """Find types in a pile.

    Args:
        mixture: The known types.
        pile: Its images.
        limits: What a found type must show.
        stream: Decides halves and starts.
    """
    rows = pile.unlabelled
    mixture = maximise(mixture, rows)
    for _ in range(_ROUNDS):
        grown = _prune(maximise(_grow(mixture, rows, limits, stream), rows), rows, limits)
        if grown.num_types <= mixture.num_types:
            break
        mixture = grown
    for _ in range(_ROUNDS):
        merged = _merge(mixture, pile, limits, stream)
        if merged.num_types == mixture.num_types:
            break
        mixture = maximise(merged, rows)
    return mixture


def fixed_number(mixture: Mixture, pile: Pile, num_types: int, seed: int) -> Mixture:
    """Fit a given number of types, known and found, from the result of k-means."""
    begun = semi_supervised_kmeans(
        pile.rows.astype(np.float64), pile.labels, num_types, seed=seed, num_starts=10
    )
    counts = np.bincount(begun.assigned, minlength=num_types)
    sums = class_sums(pile.rows.astype(np.float64), begun.assigned, num_types)
    types = posterior(sums, counts, mixture.between)
    begin = mixture.with_found(types.take(slice(mixture.num_known, None)))
    return maximise(begin, pile.unlabelled)


def _grow(
    mixture: Mixture, rows: np.ndarray, limits: Limits, stream: np.random.Generator
) -> Mixture:
    """Add what every pool that passes its test proposes, the greatest gains first."""
    assigned, known = mixture.assign(rows), mixture.num_known
    passed: list[tuple[float, int, Types]] = []
    for place in range(mixture.num_types + 1):
        pool = rows[assigned == place]
        if len(pool) < (2 if known <= place < mixture.num_types else 1) * limits.min_images:
            continue
        pinned = _pinned(mixture, place)
        gain = split_gain(pool, mixture.between, stream, pinned)
        least = limits.thresholds.split if pinned is None else limits.thresholds.audit
        if is_two(gain, least, mixture.num_types + 1, limits.level):
            passed.append((-gain.total, place, proposal(pool, mixture.between, stream, pinned)))
    kept = {place: mixture.types.take([place]) for place in range(known, mixture.num_types)}
    for _, place, types in sorted(passed, key=lambda each: each[:2]):
        if known + sum(len(each.means) for each in kept.values()) < limits.max_types:
            kept[place] = types
    return mixture.with_found(_stack(kept, mixture.types))


def _pinned(mixture: Mixture, place: int) -> Types | None:
    """The type that a pool is compared with; None for a found one, which may be anywhere."""
    if place < mixture.num_known:
        return mixture.types.take([place])
    return unseen(mixture.between) if place == mixture.num_types else None


def is_two(gain: Gain, least: float, num_tests: int, level: float) -> bool:
    """Whether a gain speaks for two types, in one of so many tests."""
    return gain.per_image > least and gain.total > np.log(num_tests / (1 - level))


def _stack(kept: dict[int, Types], like: Types) -> Types:
    none = like.take(slice(0))
    for place in sorted(kept):
        none = none.beside(kept[place])
    return none


def _prune(mixture: Mixture, rows: np.ndarray, limits: Limits) -> Mixture:
    """Dissolve found types that kept too few images."""
    num = np.bincount(mixture.assign(rows), minlength=mixture.num_types + 1)
    enough = num[mixture.num_known : mixture.num_types] >= limits.min_images
    if enough.all():
        return mixture
    return maximise(mixture.with_found(mixture.found.take(enough)), rows)


def _merge(
    mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator
) -> Mixture:
    """Merge found types with neighbours that are no other type; each at most once."""
    known, num = mixture.num_known, mixture.num_types
    rows, assigned = pile.unlabelled, mixture.assign(pile.unlabelled)
    labelled, labels = pile.labelled
    pools = [labelled[labels == place] for place in range(known)]
    pools += [rows[assigned == place] for place in range(known, num)]
    alike: list[tuple[float, int, int]] = []
    for one, other in _near(mixture):
        if min(len(pools[one]), len(pools[other])) < 4:
            continue
        gain = pair_gain(pools[one], pools[other], mixture.between, stream)
        if not is_two(gain, limits.thresholds.split, 1, limits.level):
            alike.append((gain.per_image, one, other))
    parent, touched = list(range(num)), set[int]()
    for _, one, other in sorted(alike):
        if not touched & {one, other}:
            touched |= {one, other} - set(range(known))
            parent[other] = one
    groups = [[j for j in range(num) if parent[j] == i] for i in range(known, num)]
    merged = [_together(mixture, group) for group in groups if group]
    return mixture.with_found(_stack(dict(enumerate(merged)), mixture.types))


def _near(mixture: Mixture) -> list[tuple[int, int]]:
    """Pairs of each found type and its nearest ones, the lower first."""
    means, known = mixture.types.means, mixture.num_known
    pairs = set()
    for place in range(known, mixture.num_types):
        distance = squared_distances(means, means[[place]])[:, 0]
        distance[place] = np.inf
        near = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
        pairs |= {(min(place, int(j)), max(place, int(j))) for j in near if np.isfinite(distance[j])}
    return sorted(pairs)


def _together(mixture: Mixture, group: list[int]) -> Types:
    """One type of the members of several."""
    counts = mixture.counts[group]
    sums = mixture.types.means[group] / mixture.types.variances[group]
    return posterior(sums.sum(axis=0)[None], counts.sum()[None], mixture.between)
