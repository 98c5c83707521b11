"""Is a pool of images one type or two? Half of it proposes, the other half decides.

The proposal is a mixture of two types, fitted to one half (2-means, then expectation maximisation).
On the other half its log-likelihood is compared with that of one type, at the mean that suits those
images best. If one type made them all, the ratio exceeds 1 / a with probability at most a: the
split likelihood-ratio test ("Universal inference", Wasserman, Ramdas and Balakrishnan, PNAS 2020),
which needs no asymptotics. Both halves take both parts, and the mean counts.

That holds if the model does. Content makes real types lumpy, so the gain of an image must also
exceed what known types show when they are put to the same test.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from owdfa.clustering import plus_plus
from owdfa.plda.model import Prior, Types, log_density, log_mixture, posterior

MAX_POOL = 2000  # images of a pool that are looked at; an error of a gain falls as 1 / sqrt of it
_STARTS = 3  # drawn, besides the cut across the longest axis; the best on its own half counts
_ITERATIONS = 15  # converged well before, in all but hopeless cases
_LEAST_PART = 0.05  # of the images, that a gain is divided by: that of two or three is all chance
_LEAST_POOL = 4  # images, of which a half has two
_DRAWS = 40  # tests of known types in all, at least; each of them is drawn three times or more


class Gain(NamedTuple):
    """What two types gain over one, in log-likelihood on images that did not propose them.

    Attributes:
        total: Of the images of a half, the mean over both.
        per_image: The same over twice the number of images of the smaller type: so a few intruders
            among many images count as they would among as many.
    """

    total: float
    per_image: float


class Pool(NamedTuple):
    """Images of a type, and the prior in their space."""

    rows: np.ndarray  # (n, d)
    prior: Prior


class _Parts(NamedTuple):
    types: Types  # two
    log_shares: np.ndarray  # (2,)

    def log_likelihoods(self, rows: np.ndarray) -> np.ndarray:
        return log_mixture(log_density(rows, self.types) + self.log_shares)


def split_gain(
    rows: np.ndarray,
    prior: Prior,
    stream: np.random.Generator,
    pinned: Types | None = None,
) -> Gain:
    """Test a pool against two types.

    Args:
        rows: (n, d), the pool, in an order that is the images' own.
        prior: Of a type that is not known.
        stream: Decides halves and starts.
        pinned: A type that one of the two must be, and the one type that is the alternative: a
            known one, or the one that nobody has seen.
    """
    mixed = rows[stream.permutation(len(rows))[:MAX_POOL]].astype(np.float64)
    halves = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    return _mean_gain(
        _compare(_propose(first, prior, stream, pinned), second, pinned, prior)
        for first, second in (halves, halves[::-1])
    )


def proposal(
    rows: np.ndarray,
    prior: Prior,
    stream: np.random.Generator,
    pinned: Types | None = None,
) -> Types:
    """What all of a pool that passed the test proposes: two types, or the one beside the pinned."""
    mixed = rows[stream.permutation(len(rows))[:MAX_POOL]].astype(np.float64)
    types = _propose(mixed, prior, stream, pinned).types
    return types if pinned is None else types.take([1])


def pair_gain(
    first: np.ndarray, second: np.ndarray, prior: Prior, stream: np.random.Generator
) -> Gain:
    """Test whether two pools are two types: as ``split_gain`` of both together, from that cut.

    Both pools as they are, and the mixture is free to move: two pieces of one cloud differ in their
    means because they were cut, and together they are one cloud.
    """
    if len(first) + len(second) < _LEAST_POOL:
        return Gain(0.0, 0.0)
    share = min(1.0, MAX_POOL / (len(first) + len(second)))
    rows, sides = [], []
    for number, pool in enumerate((first, second)):
        chosen = stream.permutation(len(pool))[: max(2, int(share * len(pool)))]
        rows.append(pool[chosen].astype(np.float64))
        sides.append(np.full(len(chosen), number))
    both, side = np.concatenate(rows), np.concatenate(sides)
    mixed = stream.permutation(len(both))
    halves = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    return _mean_gain(
        _compare(_maximise(both[one], side[one], prior, None), both[other], None, prior)
        for one, other in (halves, halves[::-1])
    )


def split_threshold(pools: list[Pool], stream: np.random.Generator, level: float) -> float:
    """The gain of an image that tests of known types stay below, at a level.

    Args:
        pools: Labelled images of each known type.
        stream: Decides draws.
        level: Share of the tests.
    """
    return _quantile(pools, level, lambda pool: split_gain(*pool, stream))


def audit_threshold(pools: list[Pool], stream: np.random.Generator, level: float) -> float:
    """The same of tests for intruders: half of a known type is labelled, the other is the pool."""

    def audit(pool: Pool) -> Gain:
        mixed = pool.rows[stream.permutation(len(pool.rows))]
        shown, hidden = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
        prior = pool.prior._replace(noise=1.0)  # what a known type has
        known = posterior(shown.sum(axis=0)[None], np.array([len(shown)]), prior)
        return split_gain(hidden, pool.prior, stream, known)

    return _quantile(pools, level, audit)


def _quantile(pools: list[Pool], level: float, test: Callable[[Pool], Gain]) -> float:
    pools = [
        pool for pool in pools if len(pool.rows) >= 2 * _LEAST_POOL
    ]  # an audit halves it first
    draws = max(3, -(-_DRAWS // max(1, len(pools))))
    found = [test(pool).per_image for pool in pools for _ in range(draws)]
    return max(0.0, float(np.quantile(found, level))) if found else 0.0


def _mean_gain(found: Iterable[tuple[float, float]]) -> Gain:
    total, smaller = np.array(list(found)).mean(axis=0)
    return Gain(float(total), float(total / (2 * smaller)))


def _compare(
    parts: _Parts, rows: np.ndarray, pinned: Types | None, prior: Prior
) -> tuple[float, float]:
    """Log-likelihood of ``rows`` by two types less that by one, and images of the smaller type."""
    one = pinned
    if one is None:
        mean = rows.mean(axis=0, keepdims=True)
        one = Types(mean, np.zeros_like(mean), np.array([prior.noise]))
    total = float((parts.log_likelihoods(rows) - log_density(rows, one)[:, 0]).sum())
    return total, len(rows) * max(_LEAST_PART, float(np.exp(parts.log_shares.min())))


def _log_shares(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.log((counts + 1) / (counts.sum() + len(counts))))


def _propose(
    rows: np.ndarray, prior: Prior, stream: np.random.Generator, pinned: Types | None
) -> _Parts:
    """The likeliest mixture of two types over the starts."""
    found = [_maximise(rows, side, prior, pinned) for side in _starts(rows, stream, pinned)]
    return max(found, key=lambda parts: float(parts.log_likelihoods(rows).sum()))


def _starts(
    rows: np.ndarray, stream: np.random.Generator, pinned: Types | None
) -> list[np.ndarray]:
    """Ways to cut rows in two, each (n,) of 0 and 1; 0 is the pinned one."""
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    longest = (centred @ vectors[:, -1] > 0).astype(np.int64)
    found = [longest]
    if pinned is not None:
        distance = -log_density(rows, pinned)[:, 0]
        found += [1 - longest, (distance > np.median(distance)).astype(np.int64)]
    for _ in range(_STARTS):
        centres = plus_plus(rows, rows[:0], stream.random(2))
        distances = np.square(rows[:, None] - centres).sum(axis=2)
        found.append(distances.argmin(axis=1))
    return found


def _maximise(rows: np.ndarray, side: np.ndarray, prior: Prior, pinned: Types | None) -> _Parts:
    """Expectation maximisation from a cut."""
    share = np.eye(2)[side]
    for _ in range(_ITERATIONS):
        counts = share.sum(axis=0)
        types = posterior(share.T @ rows, counts, prior)
        if pinned is not None:
            types = pinned.beside(types.take([1]))
        parts = _Parts(types, _log_shares(counts))
        logs = log_density(rows, parts.types) + parts.log_shares
        share = np.exp(logs - log_mixture(logs)[:, None])
    return parts
