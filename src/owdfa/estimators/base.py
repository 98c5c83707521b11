"""The number of classes, known and novel, estimated from embeddings and the visible labels.

An estimator's file defines one function, which tries candidates and scores each::

    def curve(images: Images, max_classes: int, seed: int) -> Curve: ...

    images       embeddings, visible labels, and what the run found whose embeddings they are
    max_classes  the most classes to consider
    seed         decides all that is random

and, where it needs more than embeddings, one that is called before anything is trained::

    def check_method(method: Settings | None) -> object: ...  # UserError: it does not serve

    method       settings of the method that is to find classes; None where none does

``estimate`` does what they have in common: it checks the input, keeps at most ``max_images``, takes
the best candidate, and repeats that on parts of the images for an interval.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
from pydantic import Field

from owdfa import catalog
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.metrics.clustering import best_match, contingency, matched_images
from owdfa.records.estimate import Curve, Estimate
from owdfa.records.training import UNLABELLED
from owdfa.whitening import unit_length

NOISE = -1  # the cluster of an image that is in none
_MAX_PER_KNOWN = 10  # classes for each known one, as CAL's prototypes at the start
_TAIL = 5  # per cent of the parts' estimates outside the interval, on each side


class EstimateSettings(Settings):
    """How an estimate is made, whatever the estimator."""

    max_classes: int | None = Field(default=None, ge=1)
    """The most classes to consider; ten for each known class otherwise."""
    max_images: int = Field(default=2000, ge=10)
    """Images that are kept of more, the same share of every class: bounds time and memory."""
    num_parts: int = Field(default=10, ge=0)
    """Parts of the images that the estimate is repeated on, for the interval."""
    part: float = Field(default=0.8, gt=0, lt=1)
    """Share of the images in a part. Drawn without replacement: an image drawn twice would be a
    cluster by itself to whatever looks at nearest neighbours."""
    seed: int = Field(default=0, ge=0)
    """Decides which images are kept, the parts, and all that is random in an estimator."""


class FoundClasses(NamedTuple):
    """What a run that was to find the number of classes says of the images.

    Attributes:
        predicted: (N,) int64, the class of each image by index; the known ones come first.
        num_known: Number of known classes.
        num_active: Number of classes that the run tells apart.
        method: The settings of its method.
    """

    predicted: np.ndarray
    num_known: int
    num_active: int
    method: Settings


class Images(NamedTuple):
    """What an estimator is given.

    Attributes:
        rows: (N, D) float, embeddings scaled to length 1.
        labels: (N,) int64 from 0 without gaps, or ``UNLABELLED``.
        found: What the run says whose embeddings they are; None where it was not to find classes.
    """

    rows: np.ndarray
    labels: np.ndarray
    found: FoundClasses | None = None

    def take(self, chosen: np.ndarray) -> "Images":
        """Some of the images, by index."""
        found = self.found and self.found._replace(predicted=self.found.predicted[chosen])
        return Images(self.rows[chosen], self.labels[chosen], found)


def load_estimator(name: str) -> ModuleType:
    """The module of an estimator.

    Raises:
        UserError: There is none of that name, or it defines no ``curve``.
    """
    module = catalog.load("estimators", name)
    if not hasattr(module, "curve"):
        raise UserError(f"estimator {name}: its file must define a function curve")
    return module


def estimate(
    name: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    settings: EstimateSettings | None = None,
    found: FoundClasses | None = None,
) -> Estimate:
    """Estimate the number of classes, known and novel.

    Args:
        name: Of the estimator, see ``owdfa estimators``.
        embeddings: (N, D) float, of labelled and unlabelled training images.
        labels: (N,) int64: class index, or ``UNLABELLED``.
        settings: How; the defaults otherwise.
        found: What the run says of them that embedded them, if it was to find classes.

    Raises:
        UserError: There is no such estimator, or these images do not allow an estimate.
    """
    settings = settings or EstimateSettings()
    make: Callable[[Images, int, int], Curve] = load_estimator(name).curve
    known, max_classes = _check(name, embeddings, labels, settings)
    stream = np.random.default_rng(settings.seed)
    numbered = np.where(labels == UNLABELLED, UNLABELLED, np.searchsorted(known, labels))
    chosen = _share_of_each(numbered, settings.max_images / len(labels), stream)
    images = Images(embeddings, numbered, found).take(chosen)
    images = images._replace(rows=unit_length(images.rows))

    def estimated(curve: Curve) -> int:
        return max(len(known), min(curve.best, max_classes))

    curve = make(images, max_classes, settings.seed)
    parts = []
    for number in range(settings.num_parts):
        part = images.take(_share_of_each(images.labels, settings.part, stream))
        parts.append(estimated(make(part, max_classes, settings.seed + number + 1)))
    interval = None
    if parts:
        low, high = np.percentile(parts, [_TAIL, 100 - _TAIL])
        interval = (int(np.floor(low)), int(np.ceil(high)))
    return Estimate(name, estimated(curve), interval, tuple(parts), curve, len(images.rows))


def labelled_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Share of the labelled images that lie in the cluster matched to their class.

    Args:
        labels: (N,) int64 from 0, or ``UNLABELLED``.
        clusters: (N,) int64 from 0, or ``NOISE``: never right.
    """
    known, found = labels[labels != UNLABELLED], clusters[labels != UNLABELLED]
    there = found != NOISE
    if not there.any():
        return 0.0
    shape = (int(known.max()) + 1, int(found.max()) + 1)
    table = contingency(known[there], found[there], shape)
    return float(matched_images(table, best_match(table)).sum() / len(known))


def search(
    score: Callable[[int], float], low: int, high: int, num_coarse: int = 12
) -> dict[int, float]:
    """Score numbers of classes: some between both ends, then all near the best of those.

    Args:
        score: Of a number of classes; greater is better.
        low: The least.
        high: The greatest.
        num_coarse: How many to score at first, at equal ratios.

    Returns:
        The score of each number that was tried, in increasing order.
    """
    coarse = np.unique(np.geomspace(low, max(low, high), num_coarse).round().astype(np.int64))
    found = {int(number): score(int(number)) for number in coarse}
    best = int(np.argmax(list(found.values())))
    around = range(coarse[max(0, best - 1)], coarse[min(len(coarse) - 1, best + 1)] + 1)
    step = max(1, len(around) // num_coarse)
    found |= {number: score(number) for number in around[::step] if number not in found}
    return dict(sorted(found.items()))


def _check(
    name: str, embeddings: np.ndarray, labels: np.ndarray, settings: EstimateSettings
) -> tuple[np.ndarray, int]:
    """The known classes, and the most to consider."""
    if len(embeddings) != len(labels):
        raise ValueError(f"{len(embeddings)} embeddings and {len(labels)} labels")
    known = np.unique(labels[labels != UNLABELLED])
    most = settings.max_classes or _MAX_PER_KNOWN * max(1, len(known))
    if len(known) < 2:
        raise UserError(
            f"estimator {name}: needs labelled images of two classes or more, there are"
            f" {len(known)}; give the number of classes with --classes"
        )
    if len(known) > most:
        raise UserError(
            f"estimator {name}: {most} classes at most are fewer than the {len(known)} known ones"
        )
    smallest = int(min(len(labels), settings.max_images) * settings.part)
    if smallest <= len(known):
        raise UserError(
            f"estimator {name}: {len(labels)} images are too few for {len(known)} known classes"
            " and more; give the number of classes with --classes"
        )
    if not np.isfinite(embeddings).all():
        raise UserError(f"estimator {name}: an embedding is not finite; train again")
    return known, min(most, smallest - 1)


def _share_of_each(labels: np.ndarray, share: float, stream: np.random.Generator) -> np.ndarray:
    """Rows of about this share of every class and of the unlabelled, in order; one at least."""
    if share >= 1:
        return np.arange(len(labels))
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        num = max(1, int(share * len(rows)))
        chosen.append(stream.choice(rows, num, replace=False))
    return np.sort(np.concatenate(chosen))
