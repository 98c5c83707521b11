"""Closed forms of the model, in the space where the covariance within a known type is the identity.

    x = m + e        m ~ N(0, diag(b))        e ~ N(0, w I)

w is 1 for known types, and more for others: the covariance was not learnt from them (``Prior``).
Members of a type that are seen make its mean known, up to a Gaussian: ``posterior``. What is left
of the prior says how a type looks of which nothing is seen: ``unseen``. Every density below follows
by integrating the mean out.
"""

from typing import NamedTuple

import numpy as np

_LOG_2PI = float(np.log(2 * np.pi))


class Prior(NamedTuple):
    """What is assumed of a type before any member of it is seen.

    Attributes:
        between: b (d,), the variance of type means.
        noise: w, the variance of images about the mean of their type.
    """

    between: np.ndarray
    noise: float = 1.0


class Types(NamedTuple):
    """What is known of C types: of each mean a Gaussian with a diagonal covariance.

    Attributes:
        means: (C, d).
        variances: (C, d), of the mean; 0 where it is known.
        noise: (C,), variance of images about it.
    """

    means: np.ndarray
    variances: np.ndarray
    noise: np.ndarray

    def take(self, chosen: np.ndarray | slice | list[int]) -> "Types":
        """Some of them."""
        return Types(*(each[chosen] for each in self))

    def beside(self, other: "Types") -> "Types":
        """These, then the others."""
        return Types(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


def unseen(prior: Prior) -> Types:
    """The one type of which no member is seen."""
    between = prior.between[None]
    return Types(np.zeros_like(between), between, np.array([prior.noise]))


def posterior(sums: np.ndarray, counts: np.ndarray, prior: Prior) -> Types:
    """Types, from members whose sums are (C, d) and whose numbers are (C,).

    Example:
        >>> posterior(np.array([[3.0]]), np.array([3]), Prior(np.array([1.0]))).means
        array([[0.75]])
    """
    noise = np.full(len(counts), prior.noise)
    variances = prior.between / (1 + counts[:, None] * prior.between / prior.noise)
    return Types(sums * variances / prior.noise, variances, noise)


def log_density(rows: np.ndarray, types: Types) -> np.ndarray:
    """Log-density (N, C) of each row as the next member of each type."""
    rows = rows.astype(np.float64, copy=False)
    precision = 1 / (types.noise[:, None] + types.variances)
    weighted = precision * types.means
    constant = (np.log(precision) - _LOG_2PI - weighted * types.means).sum(axis=1)
    return np.asarray(rows @ weighted.T - (np.square(rows) @ precision.T - constant) / 2)


def log_group_density(rows: np.ndarray, types: Types) -> np.ndarray:
    """Log-density (C,) of all rows together, as the next members of each type.

    That is less than the sum of ``log_density`` of rows far apart and more than that of rows close
    together: they share one mean, whatever it is.
    """
    num, rows = len(rows), rows.astype(np.float64, copy=False)
    noise = types.noise[:, None]
    sums = rows.sum(axis=0) - num * types.means
    squares = np.square(rows).sum() - 2 * types.means @ rows.sum(axis=0)
    squares = squares + num * np.square(types.means).sum(axis=1)
    wide = noise + num * types.variances
    explained = (types.variances * np.square(sums) / wide).sum(axis=1)
    size = num * rows.shape[1] * _LOG_2PI + np.log(wide).sum(axis=1)
    size = size + (num - 1) * rows.shape[1] * np.log(types.noise)
    return np.asarray(-(size + (squares - explained) / types.noise) / 2)


def log_mixture(logs: np.ndarray) -> np.ndarray:
    """Logarithm (N,) of the sum of exponentials over the last axis."""
    top = logs.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logs - top[..., None]).sum(axis=-1)))
