"""Leave-known-out: hide some known types, and see whether they are found again.

It is the one way to choose a number that decides about novel types without a label of any. Each
known type in turn loses its labels, and the others half of theirs (:mod:`owdfa.leave_out`); the
space is learnt anew without them, and the whole pile is searched. Scored are the images whose label
was hidden.

It says how well types like the known ones are found. If novel types are of another kind, say video
models where all known ones are face swaps, it says less.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from owdfa.leave_out import hidden_rounds
from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import score_conventions
from owdfa.metrics.likelihood_ratios import STRONG, against_best_other
from owdfa.plda.consensus import Agreement, Pile, agreement, with_types
from owdfa.plda.mixture import Mixture, known_only
from owdfa.plda.model import Prior, log_density, log_mixture, unseen
from owdfa.plda.ratios import best_factor
from owdfa.plda.space import SpaceLearner
from owdfa.records.training import UNLABELLED

TOGETHER = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
"""Shares of clusterings that are tried: in piles drawn from the model types are found well with all
of these. Below, novel types are absorbed; above, types are cut (docs/methods/plda.md)."""
_PLAIN = 0.5  # where nothing can be left out: more often together than not
_TEMPERATURES = np.geomspace(1, 30, 40)


@dataclass(frozen=True)
class Episode:
    """A pile in which a known type is hidden.

    Attributes:
        pile: All images, of which some stay labelled; types renumbered, the hidden one last.
        held: (M,), places of images whose label was hidden.
        truth: (M,) int64, their types.
        num_kept: Types with labels.
        between: (d,), of the space.
    """

    pile: Pile
    held: np.ndarray
    truth: np.ndarray
    num_kept: int
    between: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Images (M, d) whose label was hidden."""
        return np.asarray(self.pile.rows[self.held])

    @cached_property
    def noise(self) -> float:
        """Variance of the hidden type about its mean over that of kept ones, unlabelled images."""
        pools = [self.rows[self.truth == k] for k in range(self.num_kept + 1)]
        spread = [float(np.var(p, axis=0, ddof=1).mean()) if len(p) > 1 else 1.0 for p in pools]
        kept = float(np.mean(spread[:-1]))
        return spread[-1] / kept if kept else 1.0

    def mixture(self, noise: float) -> Mixture:
        """The kept types alone."""
        prior = Prior(self.between, noise)
        return known_only(self.pile.rows, self.pile.labels, self.num_kept, prior)


class Found(NamedTuple):
    """How well hidden types were found again; shares, single match (gcd-v2), means over episodes.

    Attributes:
        known: Accuracy of unlabelled images of types that kept their labels.
        hidden: Accuracy of images of hidden types.
        absorbed: Share of images of hidden types that are given to a type with labels.
    """

    known: float
    hidden: float
    absorbed: float


class Calibration(NamedTuple):
    """What leave-known-out set and measured.

    Attributes:
        noise: Variance of a novel type about its mean, where that of a known one is 1.
        together: Share of clusterings that images of one type are together in.
        temperature: What log-probabilities are divided by, so that they are right as often as they
            say: the one of the least negative log-likelihood.
        factor: What log-likelihood ratios are multiplied by: the one of the least Cllr.
        cllr: Cost of the ratios after that, in bits; 1 says nothing.
        misled: Share of images of hidden types with a ratio above 10 for a type that did not make
            them; the goal is 0.05 at most.
        found: How well hidden types were found with this ``together``, which was chosen for it.
    """

    noise: float
    together: float
    temperature: float
    factor: float
    cllr: float
    misled: float
    found: Found | None


NEUTRAL = Calibration(1.0, _PLAIN, 1.0, 1.0, 1.0, 0.0, None)
"""Where there is one known type at most, or too few images of each, and nothing can be left out."""


def leave_known_out(
    learner: SpaceLearner,
    features: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray,
    min_images: int,
    seed: int = 0,
) -> Calibration:
    """Hide known types in turn, and set what decides about novel ones.

    Args:
        learner: Of the space, from all images.
        features: (N, F), in an order that is the images' own.
        labels: (N,) int64: known type, or ``UNLABELLED``.
        places: Of the images that are used.
        min_images: Of a found type.
        seed: Decides what is drawn.
    """
    made = episodes(learner, features, labels, places, seed)
    if not made:
        return NEUTRAL
    noise = max(1.0, float(np.mean([each.noise for each in made])))
    same, different = ratio_trials(made, noise)
    if not len(same) or not len(different):
        return NEUTRAL
    paths = [_path(each, noise, min_images, np.random.default_rng([seed, 2])) for each in made]
    score = [[_balanced(each, m) for m in path] for each, path in zip(made, paths, strict=True)]
    chosen = int(np.mean(score, axis=0).argmax())  # of equals the one with the fewest types
    fitted = [path[chosen] for path in paths]
    scaled = best_factor(same, different)
    return Calibration(
        noise,
        TOGETHER[chosen],
        _temperature(made, fitted),
        scaled.factor,
        scaled.cllr,
        float((different * scaled.factor > np.log(STRONG)).mean()),
        _found(made, fitted),
    )


def episodes(
    learner: SpaceLearner,
    features: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray,
    seed: int = 0,
) -> list[Episode]:
    """The piles: each known type is hidden once.

    Args:
        learner: Has seen the images in the same order.
        features: (N, F).
        labels: (N,).
        places: Of the images that are used.
        seed: Decides which half of the labels of the others is hidden.
    """
    made, shown_of_all = [], np.zeros(len(labels), bool)
    features, labels = features[places], labels[places]
    for each in hidden_rounds(labels, seed):
        kept = np.unique(each.visible[each.visible != UNLABELLED])
        shown_of_all[places] = each.visible != UNLABELLED
        space = learner.fit(shown_of_all)
        shown = np.where(
            each.visible == UNLABELLED, UNLABELLED, np.searchsorted(kept, each.visible)
        )
        truth = labels[each.held]
        truth = np.where(truth == each.hidden_class, len(kept), np.searchsorted(kept, truth))
        pile = Pile(space(features), shown)
        made.append(Episode(pile, each.held, truth, len(kept), space.between))
    return made


def _path(
    episode: Episode, noise: float, min_images: int, stream: np.random.Generator
) -> list[Mixture]:
    """What is found with each of ``TOGETHER``."""
    known, pile = episode.mixture(noise), episode.pile
    agreed: Agreement = agreement(pile, episode.num_kept, len(pile.rows), stream)
    return [
        with_types(known, pile, agreed.owners(each, min_images), min_images) for each in TOGETHER
    ]


def _accuracies(episode: Episode, mixture: Mixture) -> tuple[float, float, float]:
    """Of kept types, of the hidden one, and the share of the hidden one given to kept ones."""
    given, truth = mixture.assign(episode.rows), episode.truth
    num = episode.num_kept + 1
    shape = (num, max(mixture.num_types, num))
    rule = score_conventions(contingency(truth, given, shape), episode.num_kept).gcd
    absorbed = (given[truth == episode.num_kept] < episode.num_kept).mean()
    return rule.known.acc, rule.novel.acc, float(absorbed)


def _balanced(episode: Episode, mixture: Mixture) -> float:
    known, hidden, _ = _accuracies(episode, mixture)
    return (known + hidden) / 2


def _found(made: list[Episode], fitted: list[Mixture]) -> Found:
    pairs = zip(made, fitted, strict=True)
    return Found(*np.mean([_accuracies(*pair) for pair in pairs], axis=0).tolist())


def ratio_trials(made: list[Episode], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios of images for the type that made them, and for the likeliest that did not.

    The former of unlabelled images of kept types, the latter of images of hidden ones, where every
    type is wrong and only "a type that nobody has seen" is right.
    """
    same, different = [], []
    for each in made:
        mixture = each.mixture(noise)
        types = mixture.types.beside(unseen(mixture.prior))
        ratios = against_best_other(log_density(each.rows, types))
        kept = each.truth < each.num_kept
        same.append(ratios[kept, each.truth[kept]])
        different.append(ratios[~kept, :-1].max(axis=1))
    return np.concatenate(same), np.concatenate(different)


def _temperature(made: list[Episode], fitted: list[Mixture]) -> float:
    """Of the least negative log-likelihood of the true type; of a hidden one, of its best match."""
    costs = np.zeros(len(_TEMPERATURES))
    for episode, mixture in zip(made, fitted, strict=True):
        logs = mixture.log_densities(episode.rows)
        hidden = logs[episode.truth == episode.num_kept].argmax(axis=1)
        right = np.append(np.arange(episode.num_kept), np.bincount(hidden).argmax())[episode.truth]
        own = logs[np.arange(len(right)), right]
        for place, temperature in enumerate(_TEMPERATURES):
            costs[place] += (log_mixture(logs / temperature) - own / temperature).sum()
    return float(_TEMPERATURES[costs.argmin()])
