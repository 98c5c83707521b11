"""A linear map after which features differ by class, and no longer by what else images show.

Whitening by the within-class covariance of labelled images is what linear discriminant analysis
and speaker recognition (within-class covariance normalisation, Hatch et al., Interspeech 2006) do.
The covariance is shrunk by Ledoit and Wolf's estimate (J. Multivariate Analysis 88, 2004), so that
it can be inverted with fewer images than dimensions.
"""

from typing import NamedTuple

import numpy as np

from owdfa.clustering import class_sums
from owdfa.records.training import UNLABELLED

_SMALL = 1e-6  # of the largest: a feature of less deviation is constant


class LinearMap(NamedTuple):
    """``(features - shift) @ matrix``."""

    shift: np.ndarray  # (F,) float32
    matrix: np.ndarray  # (F, dim) float32

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Map (N, F) to (N, dim)."""
        return np.asarray((features - self.shift) @ self.matrix)

    def then(self, matrix: np.ndarray) -> "LinearMap":
        """The same, and ``@ matrix`` after it."""
        return LinearMap(self.shift, np.asarray(self.matrix @ matrix, np.float32))


def principal_components(features: np.ndarray, num: int) -> LinearMap:
    """Fit the map to the first principal components of standardised features.

    Args:
        features: (N, F).
        num: Most components; there are no more than min(N - 1, F), the others are 0.
    """
    shift = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    kept = scale > _SMALL * scale.max(initial=0)
    scale = np.where(kept, scale, np.inf)
    rows = ((features - shift) / scale).astype(np.float32)
    vectors = _leading_directions(rows, num)
    return LinearMap(shift.astype(np.float32), (vectors / scale[:, None]).astype(np.float32))


def _leading_directions(rows: np.ndarray, num: int) -> np.ndarray:
    """Right singular vectors (F, num) of centred rows (N, F), by the smaller of two products."""
    found = np.zeros((rows.shape[1], num))
    num_found = min(num, len(rows) - 1, rows.shape[1])
    if num_found < 1:
        return found
    if rows.shape[1] <= len(rows):
        _, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        found[:, :num_found] = vectors[:, ::-1][:, :num_found]
        return found
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    lengths = np.sqrt(np.maximum(values[::-1][:num_found], 0))
    usable = lengths > _SMALL * lengths[0]
    lengths = np.where(usable, lengths, np.inf)
    found[:, :num_found] = rows.T @ (vectors[:, ::-1][:, :num_found] / lengths)
    return found


def within_class_covariance(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Covariance (D, D) of labelled rows about the mean of their class, shrunk.

    Args:
        rows: (N, D) float.
        labels: (N,) int64: class, or ``UNLABELLED``.
    """
    chosen = labels != UNLABELLED
    index = np.unique(labels[chosen], return_inverse=True)[1]
    return shrunk_covariance(within_class(rows[chosen].astype(np.float64), index))


def within_class(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows (N, D) about the mean of their class, ``index`` (N,), from 0 without gaps."""
    counts = np.bincount(index)
    return np.asarray(rows - (class_sums(rows, index, len(counts)) / counts[:, None])[index])


def shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Covariance (D, D) of rows (N, D) whose mean is 0, shrunk by Ledoit and Wolf's estimate.

    A mixture with the mean variance times the identity, by the share that minimises the expected
    squared error.
    """
    num, dim = centred.shape
    covariance = centred.T @ centred / num
    mean_variance = np.trace(covariance) / dim
    target = mean_variance * np.eye(dim)
    distance = np.square(covariance - target).sum()
    lengths = np.square(centred).sum(axis=1)
    noise = (np.square(lengths).sum() / num - np.square(covariance).sum()) / num
    share = 1.0 if distance <= 0 else float(np.clip(noise / distance, 0, 1))
    return np.asarray((1 - share) * covariance + share * target)


def whitening(covariance: np.ndarray, smallest: float = _SMALL) -> np.ndarray:
    """The symmetric matrix (D, D) that turns ``covariance`` into the identity; 0 where it is 0.

    Args:
        covariance: (D, D).
        smallest: Of the largest variance: what is less counts as 0.
    """
    values, vectors = np.linalg.eigh(covariance)
    usable = values > smallest * max(values[-1], np.finfo(np.float64).tiny)
    scale = np.where(usable, 1 / np.sqrt(np.where(usable, values, 1)), 0)
    return np.asarray((vectors * scale) @ vectors.T)


def whitened_components(components: np.ndarray, labels: np.ndarray, num: int) -> np.ndarray:
    """Whiten principal components by the within-class covariance, and reduce them again.

    Args:
        components: (N, D), centred, of labelled and unlabelled images.
        labels: (N,) int64: class, or ``UNLABELLED``. Where no class has two images, nothing is
            whitened.
        num: How many dimensions are kept: those of the greatest variance over all images.

    Returns:
        (D, num): what the components are to be multiplied by.
    """
    chosen = labels[labels != UNLABELLED]
    whiten = np.eye(components.shape[1])
    if len(np.unique(chosen)) < len(chosen):
        whiten = whitening(within_class_covariance(components, labels))
    return np.asarray(whiten @ _leading_directions((components @ whiten).astype(np.float32), num))


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(rows.dtype).tiny))
