"""Closed forms of the model, in the space where the covariance within a type is the identity.

    x = m + e        e ~ N(0, I)        m ~ N(0, diag(b))

Members of a type that are seen make its mean known, up to a Gaussian: ``posterior``. What is left
of the prior says how a type looks of which nothing is seen: ``unseen``. Every density below follows
by integrating the mean out.
"""

from typing import NamedTuple

import numpy as np

_LOG_2PI = float(np.log(2 * np.pi))


class Types(NamedTuple):
    """What is known of the means of C types: each a Gaussian with a diagonal covariance.

    Attributes:
        means: (C, d).
        variances: (C, d); 0 for a mean that is known.
    """

    means: np.ndarray
    variances: np.ndarray

    def take(self, chosen: np.ndarray | slice | list[int]) -> "Types":
        """Some of them."""
        return Types(self.means[chosen], self.variances[chosen])

    def beside(self, other: "Types") -> "Types":
        """These, then the others."""
        return Types(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


def unseen(between: np.ndarray) -> Types:
    """The one type of which no member is seen."""
    return Types(np.zeros((1, len(between))), between[None])


def posterior(sums: np.ndarray, counts: np.ndarray, between: np.ndarray) -> Types:
    """The means of types, from members whose sums are (C, d) and whose numbers are (C,).

    Example:
        >>> posterior(np.array([[3.0]]), np.array([3]), np.array([1.0]))
        Types(means=array([[0.75]]), variances=array([[0.25]]))
    """
    variances = between / (1 + counts[:, None] * between)
    return Types(sums * variances, variances)


def log_density(rows: np.ndarray, types: Types) -> np.ndarray:
    """Log-density (N, C) of each row as the next member of each type."""
    rows = rows.astype(np.float64, copy=False)
    precision = 1 / (1 + types.variances)
    weighted = precision * types.means
    constant = (np.log(precision) - _LOG_2PI - weighted * types.means).sum(axis=1)
    return np.asarray(rows @ weighted.T - (np.square(rows) @ precision.T - constant) / 2)


def log_group_density(rows: np.ndarray, types: Types) -> np.ndarray:
    """Log-density (C,) of all rows together, as the next members of each type.

    That is less than the sum of ``log_density`` of rows far apart and more than that of rows close
    together: they share one mean, whatever it is.
    """
    num, rows = len(rows), rows.astype(np.float64, copy=False)
    sums = rows.sum(axis=0) - num * types.means
    squares = np.square(rows).sum() - 2 * types.means @ rows.sum(axis=0)
    squares = squares + num * np.square(types.means).sum(axis=1)
    wide = 1 + num * types.variances
    explained = (types.variances * np.square(sums) / wide).sum(axis=1)
    size = num * rows.shape[1] * _LOG_2PI + np.log(wide).sum(axis=1)
    return np.asarray(-(size + squares - explained) / 2)


def log_mixture(logs: np.ndarray) -> np.ndarray:
    """Logarithm (N,) of the sum of exponentials over the last axis."""
    top = logs.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logs - top[..., None]).sum(axis=-1)))
