"""Is a pool of images one type or two? Half of it proposes, the other half decides.

The proposal is a mixture of two types, fitted to one half (2-means, then expectation maximisation).
On the other half its log-likelihood is compared with that of one type, at the mean that suits those
images best. If one type made them all, the ratio exceeds 1 / a with probability at most a: the split
likelihood-ratio test ("Universal inference", Wasserman, Ramdas and Balakrishnan, PNAS 2020), which
needs no asymptotics. Both halves take both parts, and the mean counts.

That holds if the model does. Content makes real types lumpy. So the gain of an image must also
exceed what known types show when they are put to the same test: the threshold is the level (0.95)
of those gains. With a few known types that is about the greatest of them.
"""

from typing import NamedTuple

import numpy as np

from owdfa.clustering import plus_plus
from owdfa.plda.model import Types, log_density, log_mixture, posterior

MAX_POOL = 4000  # images of a pool that are looked at; an error of a gain falls as 1 / sqrt of it
_STARTS = 3  # drawn, besides the cut across the longest axis; the best on its own half counts
_ITERATIONS = 20  # converged well before, in all but hopeless cases
_DRAWS = 40  # tests of known types in all, at least; each of them is drawn three times or more


class Gain(NamedTuple):
    """What two types gain over one, in log-likelihood on images that did not propose them.

    Attributes:
        total: Of the images of a half, the mean over both.
        per_image: The same over their number.
    """

    total: float
    per_image: float


class Thresholds(NamedTuple):
    """Gain of an image that known types stay below, at the level.

    Attributes:
        split: A pool against two types.
        audit: Images of a known type against that type and another.
    """

    split: float
    audit: float


class _Parts(NamedTuple):
    types: Types  # two
    log_shares: np.ndarray  # (2,)

    def log_likelihoods(self, rows: np.ndarray) -> np.ndarray:
        return log_mixture(log_density(rows, self.types) + self.log_shares)


def split_gain(
    rows: np.ndarray,
    between: np.ndarray,
    stream: np.random.Generator,
    pinned: Types | None = None,
) -> Gain:
    """Test a pool against two types.

    Args:
        rows: (n, d), the pool, in an order that is the images' own.
        between: (d,), the variance of type means.
        stream: Decides halves and starts.
        pinned: A type that one of the two must be, and the one type that is the alternative: a
            known one, or the one that nobody has seen.
    """
    mixed = rows[stream.permutation(len(rows))[:MAX_POOL]].astype(np.float64)
    halves = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    return _mean_gain(
        _compare(_propose(first, between, stream, pinned), second, pinned)
        for first, second in (halves, halves[::-1])
    )


def proposal(
    rows: np.ndarray,
    between: np.ndarray,
    stream: np.random.Generator,
    pinned: Types | None = None,
) -> Types:
    """What all of a pool that passed the test proposes: two types, or the one beside the pinned."""
    mixed = rows[stream.permutation(len(rows))[:MAX_POOL]].astype(np.float64)
    types = _propose(mixed, between, stream, pinned).types
    return types if pinned is None else types.take([1])


def pair_gain(
    first: np.ndarray, second: np.ndarray, between: np.ndarray, stream: np.random.Generator
) -> Gain:
    """Test whether two pools are two types: as ``split_gain``, and the cut is given.

    As many images are taken of both, as a cut of one type has about as many on both sides.
    """
    halves: list[list[np.ndarray]] = [[], []]
    num = min(len(first), len(second), MAX_POOL // 2)
    for rows in (first, second):
        mixed = rows[stream.permutation(len(rows))[:num]].astype(np.float64)
        halves[0].append(mixed[: len(mixed) // 2])
        halves[1].append(mixed[len(mixed) // 2 :])
    return _mean_gain(
        _compare(_given(fitted, between), np.concatenate(tested), None)
        for fitted, tested in (halves, halves[::-1])
    )


def thresholds(
    rows: np.ndarray,
    labels: np.ndarray,
    between: np.ndarray,
    stream: np.random.Generator,
    level: float = 0.95,
) -> Thresholds:
    """Put known types to the tests, and see what they must allow.

    Args:
        rows: (n, d), labelled images.
        labels: (n,), their types.
        between: (d,).
        stream: Decides draws.
        level: Share of the tests of known types that must find one type.
    """
    found = [rows[labels == each] for each in np.unique(labels)]
    pools = [each for each in found if len(each) >= 8]  # a test needs four images a half
    if not pools:
        return Thresholds(0.0, 0.0)
    draws = max(3, -(-_DRAWS // len(pools)))
    split, audit = [], []
    for pool in pools:
        for _ in range(draws):
            split.append(split_gain(pool, between, stream).per_image)
            mixed = pool[stream.permutation(len(pool))]
            shown, hidden = mixed[: len(pool) // 2], mixed[len(pool) // 2 :]
            known = posterior(shown.sum(axis=0)[None], np.array([len(shown)]), between)
            audit.append(split_gain(hidden, between, stream, known).per_image)
    return Thresholds(*(max(0.0, float(np.quantile(each, level))) for each in (split, audit)))


def _mean_gain(found: "object") -> Gain:
    totals, counts = zip(*found, strict=True)  # type: ignore[call-overload]
    total = float(np.mean(totals))
    return Gain(total, total / max(1.0, float(np.mean(counts))))


def _compare(parts: _Parts, rows: np.ndarray, pinned: Types | None) -> tuple[float, int]:
    """Log-likelihood of ``rows`` by two types, less that by one; and how many rows there are."""
    one = pinned
    if one is None:
        mean = rows.mean(axis=0, keepdims=True)
        one = Types(mean, np.zeros_like(mean))
    return float((parts.log_likelihoods(rows) - log_density(rows, one)[:, 0]).sum()), len(rows)


def _given(pools: list[np.ndarray], between: np.ndarray) -> _Parts:
    counts = np.array([len(each) for each in pools])
    sums = np.stack([each.sum(axis=0) for each in pools])
    return _Parts(posterior(sums, counts, between), _log_shares(counts))


def _log_shares(counts: np.ndarray) -> np.ndarray:
    return np.log((counts + 1) / (counts.sum() + len(counts)))


def _propose(
    rows: np.ndarray, between: np.ndarray, stream: np.random.Generator, pinned: Types | None
) -> _Parts:
    """The likeliest mixture of two types over the starts."""
    found = [_maximise(rows, side, between, pinned) for side in _starts(rows, stream, pinned)]
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


def _maximise(
    rows: np.ndarray, side: np.ndarray, between: np.ndarray, pinned: Types | None
) -> _Parts:
    """Expectation maximisation from a cut."""
    share = np.eye(2)[side]
    for _ in range(_ITERATIONS):
        counts = share.sum(axis=0)
        types = posterior(share.T @ rows, counts, between)
        if pinned is not None:
            types = pinned.beside(types.take([1]))
        parts = _Parts(types, _log_shares(counts))
        logs = log_density(rows, parts.types) + parts.log_shares
        share = np.exp(logs - log_mixture(logs)[:, None])
    return parts


