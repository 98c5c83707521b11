"""Types fitted to a pile: each unlabelled image belongs to a known type, a found one, or to none.

Expectation maximisation. Labelled images stay in their type. The mean of a known type follows its
labelled images and those that are given to it with confidence; that of a found one all images, each
by its share. Images that fit none of them belong to "a type that nobody has seen", which is as wide
as type means vary: found types are born from there, and out of known types that hold intruders.
"""

from dataclasses import dataclass, replace

import numpy as np

from owdfa.clustering import class_sums
from owdfa.plda.model import Prior, Types, log_density, log_mixture, posterior, unseen
from owdfa.plda.space import blocks
from owdfa.records.training import UNLABELLED

CONFIDENT = 0.9
"""Probability from which an unlabelled image moves the mean of a known type. Below it, an intruder
would drag the type towards itself."""
_TOLERANCE = 1e-5  # of the mean log-likelihood of an image, at which iterations end


@dataclass(frozen=True)
class Mixture:
    """Types and how common they are among unlabelled images.

    Attributes:
        types: The C types, known ones first.
        counts: (C,) images that each mean rests on, labelled ones included.
        log_shares: (C + 1,), the last one of images that fit none.
        prior: Of the types that are not known.
        labelled_sums: (K, d), of the labelled images of each known type.
        labelled_counts: (K,).
    """

    types: Types
    counts: np.ndarray
    log_shares: np.ndarray
    prior: Prior
    labelled_sums: np.ndarray
    labelled_counts: np.ndarray

    @property
    def num_known(self) -> int:
        """K."""
        return len(self.labelled_counts)

    @property
    def num_types(self) -> int:
        """C."""
        return len(self.counts)

    def log_joint(self, rows: np.ndarray, *, with_none: bool = True) -> np.ndarray:
        """Log of share times density: (N, C + 1), or (N, C) where an image must be of some type."""
        if not with_none:
            return np.asarray(log_density(rows, self.types) + self.log_shares[:-1])
        types = self.types.beside(unseen(self.prior))
        return np.asarray(log_density(rows, types) + self.log_shares)

    def assign(self, rows: np.ndarray, *, with_none: bool = True) -> np.ndarray:
        """The likeliest type (N,) of each image; C for none."""
        found = np.empty(len(rows), np.int64)
        for part in blocks(len(rows)):
            found[part] = self.log_joint(rows[part], with_none=with_none).argmax(axis=1)
        return found

    def posterior(self, sums: np.ndarray, counts: np.ndarray) -> Types:
        """Types of members with these sums (C, d) and numbers (C,), known ones first."""
        num_known = self.num_known
        known = self.prior._replace(noise=1.0)
        types = posterior(sums[:num_known], counts[:num_known], known)
        return types.beside(posterior(sums[num_known:], counts[num_known:], self.prior))

    def with_found(self, types: Types) -> "Mixture":
        """The same known types, and these as found ones."""
        num_known = self.num_known
        num = num_known + len(types.means)
        counts = np.concatenate([self.counts[:num_known], np.zeros(num - num_known)])
        shares = np.append(np.full(num, 1.0), 1e-3)  # the next iteration counts them
        types = self.types.take(slice(num_known)).beside(types)
        return replace(self, types=types, counts=counts, log_shares=np.log(shares))

    @property
    def found(self) -> Types:
        """The types that are not known."""
        return self.types.take(slice(self.num_known, None))


def known_only(rows: np.ndarray, labels: np.ndarray, num_known: int, prior: Prior) -> Mixture:
    """The mixture of the known types alone, from labelled images."""
    chosen = labels != UNLABELLED
    counts = np.bincount(labels[chosen], minlength=num_known)
    sums = class_sums(rows[chosen].astype(np.float64), labels[chosen], num_known)
    shares = np.append(np.full(num_known, 1.0), 1e-3)
    types = posterior(sums, counts, prior._replace(noise=1.0))
    return Mixture(types, counts.astype(np.float64), np.log(shares), prior, sums, counts)


def maximise(mixture: Mixture, rows: np.ndarray, iterations: int = 50) -> Mixture:
    """Iterate until the likelihood of the unlabelled images stops changing.

    Args:
        mixture: To begin with.
        rows: (N, d), unlabelled images.
        iterations: The most of them.
    """
    before = -np.inf
    for _ in range(iterations if len(rows) else 0):
        mixture, likelihood = step(mixture, rows)
        if abs(likelihood - before) < _TOLERANCE:
            break
        before = likelihood
    return mixture


def step(mixture: Mixture, rows: np.ndarray) -> tuple[Mixture, float]:
    """One iteration, and the mean log-likelihood of an image before it."""
    num_known, num = mixture.num_known, mixture.num_types
    sums, moving, members = np.zeros_like(mixture.types.means), np.zeros(num), np.zeros(num + 1)
    likelihood = 0.0
    for part in blocks(len(rows)):
        block = rows[part].astype(np.float64, copy=False)
        logs = mixture.log_joint(block)
        total = log_mixture(logs)
        share = np.exp(logs - total[:, None])
        likelihood += float(total.sum())
        members += share.sum(axis=0)
        share = share[:, :-1]
        known = share[:, :num_known]
        known[known < CONFIDENT] = 0
        sums += share.T @ block
        moving += share.sum(axis=0)
    sums[:num_known] += mixture.labelled_sums
    moving[:num_known] += mixture.labelled_counts
    shares = np.append(members[:-1] + 1, 1.0)  # of none: the odds that the next image is a new type
    shares /= shares.sum()
    made = replace(
        mixture,
        types=mixture.posterior(sums, moving),
        counts=moving,
        log_shares=np.log(shares),
    )
    return made, likelihood / max(1, len(rows))
