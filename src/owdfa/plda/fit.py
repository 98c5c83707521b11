"""From features and the visible labels to types, and to what an image is."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from owdfa.config import Settings
from owdfa.plda.evidence import thresholds
from owdfa.plda.mixture import Mixture, known_only, maximise
from owdfa.plda.model import log_mixture
from owdfa.plda.search import Limits, Pile, fixed_number, search
from owdfa.plda.space import Space, blocks, canonical_order, fit_space
from owdfa.records.training import UNLABELLED

_FINAL_ITERATIONS = 10  # over all images, from what a sample converged to
_TAIL = 5  # per cent of the parts' numbers outside the interval, on each side


class TypesSettings(Settings):
    """How types are found. ``leave_known_out`` says how well a choice does, without novel labels."""

    dim: int = Field(default=32, ge=1, le=64)
    """Directions that are kept."""
    unit_length: bool = True
    """Whether the length of features is taken away, once they are whitened."""
    standardise: bool = False
    """Whether each feature is divided by its deviation first: for features of different units."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Share of tests of one type that must find one, among known types and by the model."""
    min_images: int = Field(default=20, ge=8)
    """Images of the smallest type that can be found."""
    max_types: int = Field(default=1000, ge=1)
    """The most types, known and found."""
    max_images: int = Field(default=20_000, ge=100)
    """Unlabelled images, and labelled ones, that types are searched in; all are given to them."""


@dataclass(frozen=True)
class Fitted:
    """Types in a space of features.

    Attributes:
        space: The map of features.
        mixture: The types, known ones first.
    """

    space: Space
    mixture: Mixture

    def log_posterior(self, features: np.ndarray) -> np.ndarray:
        """Log-probability (N, C) of each type for features (N, F); of none of them is left out."""
        made = np.empty((len(features), self.mixture.num_types))
        for part in blocks(len(features)):
            logs = self.mixture.log_joint(self.space(features[part]), with_none=False)
            made[part] = logs - log_mixture(logs)[:, None]
        return made

    def assign(self, features: np.ndarray) -> np.ndarray:
        """The likeliest type (N,) of each image."""
        found = np.empty(len(features), np.int64)
        for part in blocks(len(features)):
            found[part] = self.mixture.assign(self.space(features[part]), with_none=False)
        return found


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    num_known: int,
    settings: TypesSettings | None = None,
    *,
    num_types: int | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit known types, and find others.

    Args:
        features: (N, F) float.
        labels: (N,) int64: known type in [0, num_known), or ``UNLABELLED``.
        num_known: K.
        settings: How; the defaults otherwise.
        num_types: Known and found ones, where that is given; None to find it.
        seed: Decides what is drawn: halves, starts and samples.
    """
    settings = settings or TypesSettings()
    space = fit_space(
        features,
        labels,
        dim=settings.dim,
        unit_length=settings.unit_length,
        standardise=settings.standardise,
    )
    order = canonical_order(features, labels)
    pile = Pile(space(features)[order], labels[order])
    return Fitted(space, fit_mixture(pile, space.between, num_known, settings, num_types, seed))


def fit_mixture(
    pile: Pile,
    between: np.ndarray,
    num_known: int,
    settings: TypesSettings,
    num_types: int | None,
    seed: int,
) -> Mixture:
    """The same in a space that is given."""
    stream = np.random.default_rng(seed)
    known = known_only(pile.rows, pile.labels, num_known, between)
    sample = _sample(pile, settings.max_images, stream)
    if num_types is not None:
        mixture = fixed_number(known, sample, num_types, seed)
    else:
        limits = Limits(
            thresholds(*sample.labelled, between, stream, settings.level),
            settings.level,
            settings.min_images,
            max(num_known, settings.max_types),
        )
        mixture = search(known, sample, limits, stream)
    if len(sample.rows) < len(pile.rows):
        mixture = maximise(mixture, pile.unlabelled, _FINAL_ITERATIONS)
    return mixture


def number_of_types(
    features: np.ndarray,
    labels: np.ndarray,
    fitted: Fitted,
    settings: TypesSettings | None = None,
    *,
    num_parts: int = 10,
    part: float = 0.8,
    seed: int = 0,
) -> tuple[int, int]:
    """Between which nine tenths of the numbers of types lie that parts of the images give.

    Parts are drawn without replacement: an image drawn twice would be a type of its own.

    Args:
        features: (N, F), those that ``fitted`` was fitted to.
        labels: (N,) int64.
        fitted: Its space is taken.
        settings: Those it was fitted with.
        num_parts: How many.
        part: Share of the images in each.
        seed: Decides them.
    """
    settings = settings or TypesSettings()
    order = canonical_order(features, labels)
    pile = Pile(fitted.space(features)[order], labels[order])
    found = []
    for number in range(num_parts):
        stream = np.random.default_rng([seed, number])
        chosen = stream.random(len(order)) < part
        some = Pile(pile.rows[chosen], pile.labels[chosen])
        num_known = fitted.mixture.num_known
        made = fit_mixture(some, fitted.space.between, num_known, settings, None, seed)
        found.append(made.num_types)
    low, high = np.percentile(found, [_TAIL, 100 - _TAIL])
    return int(np.floor(low)), int(np.ceil(high))


def _sample(pile: Pile, most: int, stream: np.random.Generator) -> Pile:
    """At most so many unlabelled and labelled images, in the same order."""
    kept = []
    for chosen in (pile.labels == UNLABELLED, pile.labels != UNLABELLED):
        places = np.flatnonzero(chosen)
        kept.append(stream.permutation(places)[:most] if len(places) > most else places)
    places = np.sort(np.concatenate(kept))
    return Pile(pile.rows[places], pile.labels[places])
