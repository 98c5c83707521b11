"""The space in which images of one type spread alike in every direction.

Features of an image are the mean of its type plus what content and chance do. The covariance of
the latter, W, is learnt from the labelled images of known types; the map makes it the identity and
that of the type means, B, diagonal (simultaneous diagonalisation; Ioffe, "Probabilistic linear
discriminant analysis", ECCV 2006). The length of an image's vector may be taken away in between
(Garcia-Romero and Espy-Wilson, Interspeech 2011): it says more of content than of the type.

Nothing depends on the order of images, nor on a rotation of the features, save for rounding.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from owdfa.clustering import class_sums
from owdfa.records.training import UNLABELLED
from owdfa.whitening import shrunk_covariance, whitening, within_class

BLOCK = 1 << 14  # images at once: bounds memory
_MAX_COMPONENTS = 200  # that are whitened: more cannot be estimated from some hundred images
_MAX_ROWS = 200_000  # images that say how all of them vary in the reduced space
_FLOOR = 1e-3  # least variance of type means, where that within a type is 1
_TINY = 1e-12
_SMALLEST = 1e-9  # of the largest variance: what is less counts as 0


class Space(NamedTuple):
    """A map of features; ``space(features)`` applies it.

    Attributes:
        shift: (F,), subtracted from features.
        matrix: (F, d), what then reduces them.
        unit_length: Whether the result is scaled to length 1.
        centre: (d,), subtracted from that.
        whiten: (d, d), what then makes the covariance within a type the identity.
        between: (d,), the variance of type means in each direction; their mean is 0.
    """

    shift: np.ndarray
    matrix: np.ndarray
    unit_length: bool
    centre: np.ndarray
    whiten: np.ndarray
    between: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Map (N, F) to (N, d), in float64; float32 where the features are, to save memory."""
        made = np.empty((len(features), len(self.between)), features.dtype)
        for part in blocks(len(features)):
            made[part] = (self.reduced(features[part]) - self.centre) @ self.whiten
        return made

    def reduced(self, features: np.ndarray) -> np.ndarray:
        """The first half of the map: (N, F) to (N, d), float64."""
        rows = (features.astype(np.float64) - self.shift) @ self.matrix
        if self.unit_length:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
        return np.asarray(rows)


class _Labelled(NamedTuple):
    rows: np.ndarray  # (n, F), by type, in an order of their own
    labels: np.ndarray  # (n,), increasing

    @property
    def numbered(self) -> np.ndarray:
        """Types from 0 without gaps."""
        return np.asarray(np.unique(self.labels, return_inverse=True)[1])

    def take(self, chosen: np.ndarray) -> "_Labelled":
        return _Labelled(self.rows[chosen], self.labels[chosen])


def blocks(num: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of ``size`` that make up ``num`` rows."""
    return (slice(first, min(first + size, num)) for first in range(0, num, size))


def canonical_order(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An order (N,) of images that is theirs and not that of the array: by distance from the mean.

    It survives a rotation of the features.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    length = np.empty(len(features))
    for part in blocks(len(features)):
        length[part] = np.square(features[part] - mean).sum(axis=1)
    return np.lexsort((labels, length))


class SpaceLearner:
    """Learns the map from all images, and from the labels of some.

    The d directions that are kept are those in which all images, the unlabelled included, vary most
    once the covariance within types is the identity. Directions between known types alone would
    leave none for a novel type.

    Args:
        features: (N, F).
        labels: (N,) int64: known type, or ``UNLABELLED``.
        dim: Most directions to keep. Trials on real images lost with more than 64.
        unit_length: Whether to take the length away.
        standardise: Whether to divide each feature by its deviation first; for features of
            different units. Then a rotation of the features does matter.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        dim: int = 32,
        unit_length: bool = True,
        standardise: bool = False,
    ) -> None:
        self._mean, covariance = _moments(features)
        scale = np.ones(len(self._mean))
        if standardise:
            deviation = np.sqrt(np.diag(covariance))
            scale = 1 / np.where(deviation > 1e-6 * deviation.max(initial=_TINY), deviation, np.inf)
        leading = _leading(covariance * scale * scale[:, None], _MAX_COMPONENTS)
        self._components = leading * scale[:, None]
        self._total = self._components.T @ covariance @ self._components
        self._dim, self._unit_length = dim, unit_length
        order = canonical_order(features, labels)
        self._features = features[order[:: 1 + len(order) // _MAX_ROWS]]
        order = order[labels[order] != UNLABELLED]
        self._places = order = order[np.argsort(labels[order], kind="stable")]
        self._labelled = _Labelled(features[order].astype(np.float64), labels[order])

    def fit(self, shown: np.ndarray | None = None) -> Space:
        """Learn the map.

        Args:
            shown: (N,) bool, images whose labels are used; None for all. Those of other known types
                vary in the space as images of a novel type do: W was not learnt from them.
        """
        kept = self._labelled if shown is None else self._labelled.take(shown[self._places])
        return _widened(self._learn(kept), self._excess(kept))

    def _learn(self, known: _Labelled) -> Space:
        """The map without regard to what it was not learnt from."""
        rows = (known.rows - self._mean) @ self._components
        white = whitening(_within(rows, known.numbered, self._total), _SMALLEST)
        matrix = self._components @ white @ _leading(white @ self._total @ white, self._dim)
        num = matrix.shape[1]
        nothing = np.zeros(num), np.eye(num), np.ones(num)
        space = Space(self._mean, matrix, self._unit_length, *nothing)
        return _diagonalised(space, self._features, known)

    def _excess(self, labelled: _Labelled) -> float:
        """How much wider types are for images that W was not learnt from: a factor of variance.

        Measured twice on the half that the map is not learnt from. From twice as many images it
        would exceed 1 by about half as much.
        """
        labels = labelled.labels
        place = np.arange(len(labels)) - np.searchsorted(labels, labels)
        found = []
        for side in (0, 1):
            seen = labelled.take(place % 2 == side)
            unseen = labelled.take(place % 2 != side)
            index = unseen.numbered
            counts = np.bincount(index)
            if len(index) <= len(counts) or len(seen.labels) < 2:
                return 1.0
            rows = self._learn(seen)(unseen.rows)
            centred = within_class(rows, index)
            found.append(np.square(centred).sum() / (len(rows) - len(counts)) / rows.shape[1])
        return max(1.0, 1 + (float(np.mean(found)) - 1) / 2)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and covariance (F, F)."""
    num, dim = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    sums = np.zeros((dim, dim))
    for part in blocks(num):
        rows = features[part] - mean
        sums += rows.T @ rows
    return mean, sums / num


def _leading(covariance: np.ndarray, num: int) -> np.ndarray:
    """Leading eigenvectors (F, <= num); all of them, unrotated, where there are no more."""
    if len(covariance) <= num:
        return np.eye(len(covariance))
    return np.asarray(np.linalg.eigh(covariance)[1][:, ::-1][:, :num])


def _within(rows: np.ndarray, index: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Covariance of rows about the mean of their type; ``total`` where no type has two of them.

    Shrunk, and divided by the number of rows less that of types: a mean is nearer to its own rows
    than the type is.
    """
    free = len(rows) - int(index.max(initial=-1)) - 1
    if free < 1:
        return total
    return np.asarray(shrunk_covariance(within_class(rows, index)) * len(rows) / free)


def _diagonalised(space: Space, features: np.ndarray, labelled: _Labelled) -> Space:
    """Complete the map: W becomes the identity, and B, shrunk, diagonal."""
    num = len(features)
    sums, products = np.zeros(len(space.between)), np.zeros_like(space.whiten)
    for part in blocks(num):
        rows = space.reduced(features[part])
        sums += rows.sum(axis=0)
        products += rows.T @ rows
    centre = sums / num
    total = products / num - np.outer(centre, centre)
    rows = space.reduced(labelled.rows) - centre
    white = whitening(_within(rows, labelled.numbered, total), _SMALLEST)
    between = _between(rows @ white, labelled.numbered, white @ total @ white)
    values, vectors = np.linalg.eigh(between)
    return space._replace(
        centre=centre,
        whiten=white @ vectors[:, ::-1],
        between=np.maximum(values[::-1], _FLOOR),
    )


def _between(rows: np.ndarray, index: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Covariance of type means about that of all images, where that within types is the identity.

    K means say little of d directions. Their covariance is averaged with an isotropic one, as if
    that rested on d means (the mean of an inverse Wishart posterior has this form). How wide that
    is: as the known means are, or, with fewer than three, as all images are beyond W.
    """
    dim, counts = total.shape[0], np.bincount(index)
    num = len(counts)
    known = np.zeros((dim, dim))
    if num:
        means = class_sums(rows, index, num) / counts[:, None]
        known = means.T @ means / num - np.mean(1 / counts) * np.eye(dim)
    width = np.trace(known if num >= 3 else total - np.eye(dim)) / dim
    return np.asarray((num * known + dim * max(width, _FLOOR) * np.eye(dim)) / (num + dim))


def _widened(space: Space, factor: float) -> Space:
    """The same with W times ``factor``."""
    return space._replace(
        whiten=space.whiten / np.sqrt(factor),
        between=np.maximum(space.between / factor, _FLOOR),
    )
