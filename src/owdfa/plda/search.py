"""The number of types: merges, births and splits, each decided by images that did not propose it.

It begins with too many: semi-supervised k-means with some centres for every known type, and the
mixture that follows from it. Then types that the test of :mod:`owdfa.plda.evidence` does not tell
apart are merged, the least different ones first, a found one with a known one where it is a piece
of that. Then every pool of unlabelled images, those given to a known type, to a found one or to
none, is tested against two types: a known pool for intruders, the pool of none for a birth, a found
one for a split. That repeats until nothing changes.
"""

from typing import NamedTuple

import numpy as np

from owdfa.clustering import class_sums, semi_supervised_kmeans, squared_distances
from owdfa.plda.evidence import Gain, pair_gain, proposal, split_gain
from owdfa.plda.mixture import Mixture, maximise
from owdfa.plda.model import Types, posterior, unseen
from owdfa.records.training import UNLABELLED

_SURPLUS = 2  # centres at the start for each known type; too many cost time and are merged
_LEAST_SURPLUS = 12
_NEIGHBOURS = 5  # nearest types that a found one is compared with
_ROUNDS = 50  # of merging, and of growing; each of them but the last changes the number of types


class Limits(NamedTuple):
    """What a found type must show.

    Attributes:
        split: Gain of an image that pools of one known type stay below.
        audit: The same of images of a known type against that type and another.
        merge: Gain of an image below which two types are one; at least ``split``.
        level: 1 minus this is the probability of a birth from one type, over all pools of a round.
        min_images: Images of the smallest type. With fewer than 20, a half has fewer than ten, and
            its mean says little in 32 directions.
        max_types: Of known and found ones together.
    """

    split: float
    audit: float
    merge: float
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
        return np.asarray(self.rows[self.labels == UNLABELLED])

    @property
    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows with a label, and the labels."""
        chosen = self.labels != UNLABELLED
        return self.rows[chosen], self.labels[chosen]

    def take(self, chosen: np.ndarray) -> "Pile":
        """Some of the images."""
        return Pile(self.rows[chosen], self.labels[chosen])


def search(mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator) -> Mixture:
    """Find types in a pile.

    Args:
        mixture: The known types.
        pile: Its images.
        limits: What a found type must show.
        stream: Decides halves and starts.
    """
    rows = pile.unlabelled
    mixture = merge(too_many(mixture, pile, limits, stream), pile, limits, stream)
    mixture = prune(mixture, rows, limits)
    for _ in range(_ROUNDS):
        grown = prune(maximise(_grow(mixture, rows, limits, stream), rows), rows, limits)
        if grown.num_types > mixture.num_types:
            grown = prune(merge(grown, pile, limits, stream), rows, limits)
        if grown.num_types <= mixture.num_types:
            break
        mixture = grown
    return mixture


def fixed_number(
    mixture: Mixture, pile: Pile, num_types: int, seed: int, num_starts: int = 10
) -> Mixture:
    """Fit a given number of types, known and found, from the result of k-means."""
    rows = pile.rows.astype(np.float64)
    begun = semi_supervised_kmeans(
        rows, pile.labels, num_types, seed=seed, num_starts=num_starts, max_iterations=50
    )
    counts = np.bincount(begun.assigned, minlength=num_types)
    types = mixture.posterior(class_sums(rows, begun.assigned, num_types), counts)
    begin = mixture.with_found(types.take(slice(mixture.num_known, None)))
    return maximise(begin, pile.unlabelled)


def too_many(mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator) -> Mixture:
    """More types than there are likely to be; as many as there may be where images are few."""
    rows, known = pile.unlabelled, mixture.num_known
    surplus = max(_LEAST_SURPLUS, _SURPLUS * known)
    surplus = min(surplus, len(rows) // limits.min_images, limits.max_types - known)
    if surplus < 1:
        return maximise(mixture, rows)
    return fixed_number(mixture, pile, known + surplus, int(stream.integers(2**31)), num_starts=3)


def merge(mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator) -> Mixture:
    """Merge types, each round those least told apart, until all are; some may be small."""
    for _ in range(_ROUNDS):
        merged = _merge(mixture, pile, limits, stream)
        if merged.num_types == mixture.num_types:
            break
        mixture = maximise(merged, pile.unlabelled)
    return mixture


def is_two(gain: Gain, least: float, num_tests: int, level: float) -> bool:
    """Whether a gain speaks for two types, in one of so many tests."""
    return gain.per_image > least and gain.total > np.log(num_tests / (1 - level))


def _grow(
    mixture: Mixture, rows: np.ndarray, limits: Limits, stream: np.random.Generator
) -> Mixture:
    """Add what every pool that passes its test proposes, the greatest gains first."""
    assigned, known = mixture.assign(rows), mixture.num_known
    passed: list[tuple[float, int, Types]] = []
    for place in range(mixture.num_types + 1):
        pool, pinned = rows[assigned == place], _pinned(mixture, place)
        if len(pool) < (2 if pinned is None else 1) * limits.min_images:
            continue
        gain = split_gain(pool, mixture.prior, stream, pinned)
        least = max(limits.merge, limits.split if pinned is None else limits.audit)
        if is_two(gain, least, mixture.num_types + 1, limits.level):
            passed.append((-gain.total, place, proposal(pool, mixture.prior, stream, pinned)))
    kept = {place: mixture.types.take([place]) for place in range(known, mixture.num_types)}
    for _, place, types in sorted(passed, key=lambda each: each[:2]):
        if known + sum(len(each.means) for each in kept.values()) < limits.max_types:
            kept[place] = types
    return mixture.with_found(_stack(kept, mixture.types))


def _pinned(mixture: Mixture, place: int) -> Types | None:
    """The type that a pool is compared with; None for a found one, which may be anywhere."""
    if place < mixture.num_known:
        return mixture.types.take([place])
    return unseen(mixture.prior) if place == mixture.num_types else None


def _stack(kept: dict[int, Types], like: Types) -> Types:
    none = like.take(slice(0))
    for place in sorted(kept):
        none = none.beside(kept[place])
    return none


def prune(mixture: Mixture, rows: np.ndarray, limits: Limits) -> Mixture:
    """Dissolve found types that kept too few images."""
    num = np.bincount(mixture.assign(rows), minlength=mixture.num_types + 1)
    enough = num[mixture.num_known : mixture.num_types] >= limits.min_images
    if enough.all():
        return mixture
    return maximise(mixture.with_found(mixture.found.take(enough)), rows)


def _merge(mixture: Mixture, pile: Pile, limits: Limits, stream: np.random.Generator) -> Mixture:
    """Merge found types with neighbours that are no other type; each at most once."""
    known, num, pools = mixture.num_known, mixture.num_types, _pools(mixture, pile)
    alike: list[tuple[float, int, int]] = []
    for one, other in _near(mixture):
        gain = pair_gain(pools[one], pools[other], mixture.prior, stream)
        if not is_two(gain, max(limits.split, limits.merge), 1, limits.level):
            alike.append((gain.per_image, one, other))
    parent, touched = list(range(num)), set[int]()
    for _, one, other in sorted(alike):
        if not touched & {one, other}:
            touched |= {one, other}
            parent[other] = one
    groups = [[j for j in range(num) if parent[j] == i] for i in range(known, num)]
    merged = [_together(mixture, group) for group in groups if group]
    return mixture.with_found(_stack(dict(enumerate(merged)), mixture.types))


def _pools(mixture: Mixture, pile: Pile) -> list[np.ndarray]:
    """Images of each type, labelled ones included."""
    owner = mixture.assign(pile.rows)
    labelled = pile.labels != UNLABELLED
    owner[labelled] = pile.labels[labelled]
    return [pile.rows[owner == place] for place in range(mixture.num_types)]


def _near(mixture: Mixture) -> list[tuple[int, int]]:
    """Pairs of each found type and its nearest ones, the lower first."""
    means, known = mixture.types.means, mixture.num_known
    pairs = set()
    for place in range(known, mixture.num_types):
        distance = squared_distances(means, means[[place]])[:, 0]
        distance[place] = np.inf
        near = np.argsort(distance, kind="stable")[:_NEIGHBOURS].tolist()
        pairs |= {(min(place, j), max(place, j)) for j in near if np.isfinite(distance[j])}
    return sorted(pairs)


def _together(mixture: Mixture, group: list[int]) -> Types:
    """One type of the members of several."""
    counts, types = mixture.counts[group], mixture.types.take(group)
    sums = types.means / types.variances * types.noise[:, None]
    return posterior(sums.sum(axis=0)[None], counts.sum()[None], mixture.prior)
