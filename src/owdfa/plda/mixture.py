"""Types fitted to a pile: each unlabelled image belongs to a known type or to a found one.

Expectation maximisation. Labelled images stay in their type; an unlabelled image moves the mean of
each type by its share. Every type is as likely as any other beforehand: how common types are in a
pile says nothing of the next one, and where it counts, the common types grow at the expense of the
rare. It is estimated, and kept beside.
"""

from dataclasses import dataclass, replace

import numpy as np

from owdfa.clustering import class_sums
from owdfa.plda.model import Prior, Types, log_density, log_mixture, posterior
from owdfa.plda.space import blocks
from owdfa.records.training import UNLABELLED

_TOLERANCE = 1e-5  # of the mean log-likelihood of an image, at which iterations end


@dataclass(frozen=True)
class Mixture:
    """Types and how common they are among unlabelled images.

    Attributes:
        types: The C types, known ones first.
        counts: (C,) images that each mean rests on, labelled ones included.
        shares: (C,), how common each is among unlabelled images.
        prior: Of the types that are not known.
        labelled_sums: (K, d), of the labelled images of each known type.
        labelled_counts: (K,).
    """

    types: Types
    counts: np.ndarray
    shares: np.ndarray
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

    def log_densities(self, rows: np.ndarray) -> np.ndarray:
        """Log-density (N, C) of each image as one more of each type."""
        return log_density(rows, self.types)

    def assign(self, rows: np.ndarray) -> np.ndarray:
        """The likeliest type (N,) of each image."""
        found = np.empty(len(rows), np.int64)
        for part in blocks(len(rows)):
            found[part] = self.log_densities(rows[part]).argmax(axis=1)
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
        types = self.types.take(slice(num_known)).beside(types)
        return replace(self, types=types, counts=counts, shares=np.full(num, 1 / num))


def known_only(rows: np.ndarray, labels: np.ndarray, num_known: int, prior: Prior) -> Mixture:
    """The mixture of the known types alone, from labelled images."""
    chosen = labels != UNLABELLED
    counts = np.bincount(labels[chosen], minlength=num_known)
    sums = class_sums(rows[chosen].astype(np.float64), labels[chosen], num_known)
    shares = np.full(num_known, 1 / num_known)
    types = posterior(sums, counts, prior._replace(noise=1.0))
    return Mixture(types, counts.astype(np.float64), shares, prior, sums, counts)


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
    sums, members = np.zeros_like(mixture.types.means), np.zeros(num)
    likelihood = 0.0
    for part in blocks(len(rows)):
        block = rows[part].astype(np.float64, copy=False)
        logs = mixture.log_densities(block)
        total = log_mixture(logs)
        share = np.exp(logs - total[:, None])
        likelihood += float(total.sum()) - len(block) * float(np.log(num))
        sums += share.T @ block
        members += share.sum(axis=0)
    counts = members.copy()
    sums[:num_known] += mixture.labelled_sums
    counts[:num_known] += mixture.labelled_counts
    types = mixture.posterior(sums, counts)
    made = replace(mixture, types=types, counts=counts, shares=(members + 1) / (members + 1).sum())
    return made, likelihood / max(1, len(rows))
