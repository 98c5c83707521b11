"""From features and the visible labels to types, and to what an image is."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from owdfa.config import Settings
from owdfa.plda.consensus import Pile, agreement, fixed_number, with_types
from owdfa.plda.known_out import Calibration, leave_known_out
from owdfa.plda.mixture import Mixture, known_only, maximise
from owdfa.plda.model import Prior, log_mixture, unseen
from owdfa.plda.space import Space, SpaceLearner, blocks, canonical_order
from owdfa.records.training import UNLABELLED

MIN_IMAGES = 8
"""The least that ``min_images`` can be."""
_FINAL_ITERATIONS = 10  # over all images, from what a sample converged to
_PART = 0.8  # share of the images in a part
_TAIL = 5  # per cent of the parts' numbers outside the interval, on each side


class TypesSettings(Settings):
    """How types are found; ``leave_known_out`` measures a choice without a novel label."""

    dim: int = Field(default=32, ge=1, le=64)
    """Directions that are kept."""
    unit_length: bool = True
    """Whether the length of features is taken away, once they are whitened."""
    standardise: bool = False
    """Whether each feature is divided by its deviation first: for features of different units."""
    min_images: int = Field(default=20, ge=MIN_IMAGES)
    """Images of the smallest type that can be found."""
    max_types: int = Field(default=1000, ge=1)
    """The most types, known and found."""
    max_images: int = Field(default=5000, ge=100)
    """Unlabelled images, and labelled ones, that types are searched in; all are given to them."""


@dataclass(frozen=True)
class Fitted:
    """Types in a space of features.

    Attributes:
        space: The map of features.
        mixture: The types, known ones first.
        calibration: What leave-known-out set and measured.
        is_given: Whether the number of types was.
    """

    space: Space
    mixture: Mixture
    calibration: Calibration
    is_given: bool = False

    def log_posterior(self, features: np.ndarray) -> np.ndarray:
        """Log-probability (N, C) of each type for features (N, F); of none of them is left out."""
        made = np.empty((len(features), self.mixture.num_types))
        for part in blocks(len(features)):
            logs = self.mixture.log_densities(self.space(features[part]))
            logs /= self.calibration.temperature
            made[part] = logs - log_mixture(logs)[:, None]
        return made

    def scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What ``log_posterior`` is, up to a constant an image: (C, d), (C, d) and (C,).

        Of z in the space, ``z @ linear.T + z**2 @ square.T + constant``.
        """
        types, cold = self.mixture.types, 1 / self.calibration.temperature
        precision = 1 / (types.noise[:, None] + types.variances)
        constant = (np.log(precision) - precision * np.square(types.means)).sum(axis=1) / 2
        return cold * precision * types.means, -cold * precision / 2, cold * constant

    def ratio_scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of log10 likelihood ratios, scaled as leave-known-out calibrates them.

        Of each type against one that nobody has seen.
        """
        types, none = self.mixture.types, unseen(self.mixture.prior)
        scale = self.calibration.factor / np.log(10)
        precision, wide = (1 / (each.noise[:, None] + each.variances) for each in (types, none))
        constant = (np.log(precision / wide) - precision * np.square(types.means)).sum(axis=1) / 2
        return scale * precision * types.means, scale * (wide - precision) / 2, scale * constant

    def assign(self, features: np.ndarray) -> np.ndarray:
        """The likeliest type (N,) of each image."""
        found = np.empty(len(features), np.int64)
        for part in blocks(len(features)):
            found[part] = self.mixture.assign(self.space(features[part]))
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
    order = canonical_order(features, labels)
    features, labels = features[order], labels[order]
    learner = SpaceLearner(
        features,
        labels,
        dim=settings.dim,
        unit_length=settings.unit_length,
        standardise=settings.standardise,
    )
    space = learner.fit()
    some = _sample(labels, settings.max_images, seed)
    found = leave_known_out(learner, features, labels, some, settings.min_images, seed)
    pile, prior = Pile(space(features), labels), Prior(space.between, found.noise)
    number = found.together if num_types is None else num_types
    mixture = fit_mixture(pile, prior, num_known, number, settings, seed)
    return Fitted(space, mixture, found, num_types is not None)


def fit_mixture(
    pile: Pile,
    prior: Prior,
    num_known: int,
    number: int | float,
    settings: TypesSettings,
    seed: int,
) -> Mixture:
    """The mixture in a space that is given.

    Args:
        pile: The images.
        prior: Of a type that is not known.
        num_known: K.
        number: Of types, an int; to find it, the share of clusterings that images of one type are
            together in, a float.
        settings: How.
        seed: Decides starts and samples.
    """
    known = known_only(pile.rows, pile.labels, num_known, prior)
    sample = pile.take(_sample(pile.labels, settings.max_images, seed))
    if isinstance(number, int):
        mixture = fixed_number(known, sample, number, seed)
    else:
        stream = np.random.default_rng([seed, 0])
        agreed = agreement(sample, num_known, settings.max_types, stream)
        owner = agreed.owners(number, settings.min_images)
        mixture = with_types(known, sample, owner, settings.min_images)
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
    seed: int = 0,
) -> tuple[int, int]:
    """Between which nine tenths of the numbers of types lie that parts of the images give.

    Parts are drawn without replacement: an image drawn twice would be a type of its own. A type has
    fewer images in a part, so the least number of images is less there, too. The number that was
    found in all images is between the two.

    Args:
        features: (N, F), those that ``fitted`` was fitted to.
        labels: (N,) int64.
        fitted: Its space is taken.
        settings: Those it was fitted with.
        num_parts: How many.
        seed: Decides them.
    """
    settings, together = settings or TypesSettings(), fitted.calibration.together
    if fitted.is_given:
        return fitted.mixture.num_types, fitted.mixture.num_types
    order = canonical_order(features, labels)
    pile = Pile(fitted.space(features)[order], labels[order])
    fewer = {"min_images": max(round(_PART * settings.min_images), MIN_IMAGES)}
    settings = settings.model_copy(update=fewer)
    found = []
    for number in range(num_parts):
        stream = np.random.default_rng([seed, number])
        chosen = stream.random(len(order)) < _PART
        some = pile.take(chosen)
        num_known = fitted.mixture.num_known
        made = fit_mixture(some, fitted.mixture.prior, num_known, together, settings, seed)
        found.append(made.num_types)
    low, high = np.percentile(found, [_TAIL, 100 - _TAIL])
    number = fitted.mixture.num_types
    return min(int(np.floor(low)), number), max(int(np.ceil(high)), number)


def _sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Places of at most so many unlabelled and labelled images, in order."""
    stream, kept = np.random.default_rng([seed, 1]), []
    for chosen in (labels == UNLABELLED, labels != UNLABELLED):
        places = np.flatnonzero(chosen)
        kept.append(stream.permutation(places)[:most] if len(places) > most else places)
    return np.sort(np.concatenate(kept))
