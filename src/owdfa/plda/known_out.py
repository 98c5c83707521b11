"""Leave-known-out: hide some known types, and see whether they are found again.

It is the one way to choose a number that decides about novel types without a label of any. Known
types are hidden in turn, half of them at a time (one at a time of three or fewer): their labels are
taken away, and so are those of a quarter of the images of the others. That pile is as the real one
is, and its truth is known. No label of it was used to learn its space.

It says how well types like the known ones are found. If novel types are of another kind, say video
models where all known ones are face swaps, it says less.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import score_conventions
from owdfa.metrics.likelihood_ratios import STRONG, against_best_other
from owdfa.plda.mixture import Mixture, known_only
from owdfa.plda.model import Prior, log_density, log_mixture, unseen
from owdfa.plda.ratios import best_factor
from owdfa.plda.search import Limits, Pile, merge, prune, too_many
from owdfa.plda.space import SpaceLearner
from owdfa.records.training import UNLABELLED

MERGES = np.round(np.linspace(0, 1.5, 16), 1)
"""Limits of a merge that are tried: gains of an image, in natural logarithms."""
_REPETITIONS = 3  # of hiding every known type once: the choice of the best limit is noisy
_FREE = 4  # of the images of a type that keeps its label, every so many-th loses it
_TEMPERATURES = np.geomspace(1, 30, 40)


@dataclass(frozen=True)
class Episode:
    """A pile of known types alone, some of them hidden.

    Attributes:
        pile: The labelled images, of which some stay labelled; types renumbered, kept ones first.
        truth: (n,) int64, all their types.
        num_kept: Types with labels.
        between: (d,), of the space.
    """

    pile: Pile
    truth: np.ndarray
    num_kept: int
    between: np.ndarray

    @property
    def noise(self) -> float:
        """Variance of hidden types about their means over that of kept ones, unlabelled images."""
        free = self.pile.labels == UNLABELLED
        pools = [self.pile.rows[free & (self.truth == k)] for k in range(int(self.truth.max()) + 1)]
        spread = [float(np.var(p, axis=0, ddof=1).mean()) if len(p) > 1 else 1.0 for p in pools]
        kept = float(np.mean(spread[: self.num_kept]))
        return float(np.mean(spread[self.num_kept :])) / kept if kept else 1.0

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
        num_types: Types found, in each episode.
        num_true: Types there, in each episode.
    """

    known: float
    hidden: float
    absorbed: float
    num_types: tuple[int, ...]
    num_true: tuple[int, ...]


class Calibration(NamedTuple):
    """What leave-known-out set and measured.

    Attributes:
        noise: Variance of a novel type about its mean, where that of a known one is 1.
        merge: Gain of an image below which two types are one.
        temperature: What log-probabilities are divided by, so that they are right as often as they
            say: the one of the least negative log-likelihood.
        factor: What log-likelihood ratios are multiplied by: the one of the least Cllr.
        cllr: Cost of the ratios after that, in bits; 1 says nothing.
        misled: Share of images of hidden types with a ratio above 10 for a type that did not make
            them; the goal is 0.05 at most.
        found: How well hidden types were found with this ``merge``, which was chosen for it.
    """

    noise: float
    merge: float
    temperature: float
    factor: float
    cllr: float
    misled: float
    found: Found | None


NEUTRAL = Calibration(1.0, 0.0, 1.0, 1.0, 1.0, 0.0, None)
"""Where there is one known type at most, and nothing can be left out."""


def leave_known_out(
    learner: SpaceLearner, features: np.ndarray, labels: np.ndarray, limits: Limits, seed: int = 0
) -> Calibration:
    """Hide known types in turn, and set what decides about novel ones.

    Args:
        learner: Of the space, from all images.
        features: (N, F), in an order that is the images' own.
        labels: (N,) int64: known type, or ``UNLABELLED``.
        limits: What a found type must show; its ``merge`` is what is chosen.
        seed: Decides what is drawn.
    """
    made = episodes(learner, features, labels, seed)
    if not made:
        return NEUTRAL
    noise = max(1.0, float(np.mean([each.noise for each in made])))
    paths = [_path(each, noise, limits, np.random.default_rng([seed, 2])) for each in made]
    score = np.mean(
        [[_balanced(e, m) for m in path] for e, path in zip(made, paths, strict=True)], 0
    )
    best = np.flatnonzero(score > score.max() - 1e-9)
    chosen = int(best[(len(best) - 1) // 2])  # the middle of equals
    fitted = [path[chosen] for path in paths]
    same, different = ratio_trials(made, noise)
    scaled = best_factor(same, different)
    return Calibration(
        noise,
        float(MERGES[chosen]),
        _temperature(made, fitted),
        scaled.factor,
        scaled.cllr,
        float((different * scaled.factor > np.log(STRONG)).mean()),
        _found(made, fitted),
    )


def episodes(
    learner: SpaceLearner, features: np.ndarray, labels: np.ndarray, seed: int = 0
) -> list[Episode]:
    """The piles: each known type is hidden once in every repetition.

    Args:
        learner: Has seen the images in the same order.
        features: (N, F).
        labels: (N,).
        seed: Decides which types are hidden together.
    """
    known = np.unique(labels[labels != UNLABELLED])
    folds = 2 if len(known) >= 4 else len(known)
    if folds < 2:
        return []
    stream = np.random.default_rng([seed, 3])
    hidden: dict[tuple[int, ...], None] = {}  # in the order in which they were drawn
    for _ in range(_REPETITIONS):
        mixed = stream.permutation(known)
        hidden |= {tuple(sorted(mixed[fold::folds].tolist())): None for fold in range(folds)}
    return [_episode(learner, features, labels, np.array(each)) for each in hidden]


def _episode(
    learner: SpaceLearner, features: np.ndarray, labels: np.ndarray, hidden: np.ndarray
) -> Episode:
    """The pile in which these known types are hidden."""
    known = np.unique(labels[labels != UNLABELLED])
    within = np.zeros(len(labels), np.int64)  # the how-manieth image of its type
    for each in known:
        rows = np.flatnonzero(labels == each)
        within[rows] = np.arange(len(rows))
    order = np.concatenate([np.setdiff1d(known, hidden), hidden])
    chosen = np.flatnonzero(labels != UNLABELLED)
    shown = (labels != UNLABELLED) & ~np.isin(labels, hidden) & (within % _FREE != 0)
    space = learner.fit(shown)
    truth = np.argsort(order)[np.searchsorted(known, labels[chosen])]
    pile = Pile(space(features[chosen]), np.where(shown[chosen], truth, UNLABELLED))
    return Episode(pile, truth, len(known) - len(hidden), space.between)


def _path(
    episode: Episode, noise: float, limits: Limits, stream: np.random.Generator
) -> list[Mixture]:
    """What is found with each of ``MERGES``, from the least on."""
    mixture = too_many(episode.mixture(noise), episode.pile, limits, stream)
    made = []
    for each in MERGES.tolist():
        mixture = merge(mixture, episode.pile, limits._replace(merge=each), stream)
        made.append(prune(mixture, episode.pile.unlabelled, limits))
    return made


def _accuracies(episode: Episode, mixture: Mixture) -> tuple[float, float, float]:
    """Of kept types, of hidden ones, and the share of hidden ones given to kept ones."""
    free = episode.pile.labels == UNLABELLED
    truth = episode.truth[free]
    given = mixture.assign(episode.pile.unlabelled, with_none=False)
    shape = (int(truth.max()) + 1, max(mixture.num_types, int(truth.max()) + 1))
    rule = score_conventions(contingency(truth, given, shape), episode.num_kept).gcd
    absorbed = (given[truth >= episode.num_kept] < episode.num_kept).mean()
    return rule.known.acc, rule.novel.acc, float(absorbed)


def _balanced(episode: Episode, mixture: Mixture) -> float:
    known, hidden, _ = _accuracies(episode, mixture)
    return (known + hidden) / 2


def _found(made: list[Episode], fitted: list[Mixture]) -> Found:
    pairs = list(zip(made, fitted, strict=True))
    known, hidden, absorbed = np.mean([_accuracies(*pair) for pair in pairs], axis=0).tolist()
    return Found(
        known,
        hidden,
        absorbed,
        tuple(mixture.num_types for mixture in fitted),
        tuple(int(each.truth.max()) + 1 for each in made),
    )


def ratio_trials(made: list[Episode], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios of images for the type that made them, and for the likeliest that did not.

    The former of unlabelled images of kept types, the latter of images of hidden ones, where every
    type is wrong and only "a type that nobody has seen" is right.
    """
    same, different = [], []
    for each in made:
        mixture = each.mixture(noise)
        free = each.pile.labels == UNLABELLED
        truth = each.truth[free]
        types = mixture.types.beside(unseen(mixture.prior))
        ratios = against_best_other(log_density(each.pile.unlabelled, types))
        kept = truth < each.num_kept
        same.append(ratios[kept, truth[kept]])
        different.append(ratios[~kept, :-1].max(axis=1))
    return np.concatenate(same), np.concatenate(different)


def _temperature(made: list[Episode], fitted: list[Mixture]) -> float:
    """Of the least negative log-likelihood of the true type; of a hidden one, of its best match."""
    logs, right = [], []
    for episode, mixture in zip(made, fitted, strict=True):
        free = episode.pile.labels == UNLABELLED
        truth = episode.truth[free]
        joint = mixture.log_joint(episode.pile.unlabelled, with_none=False)
        match = _most_common(truth, joint.argmax(axis=1), episode.num_kept)
        logs.append(joint)
        right.append(match[truth])
    costs = [
        sum(
            float((log_mixture(joint / t) - joint[np.arange(len(r)), r] / t).sum())
            for joint, r in zip(logs, right, strict=True)
        )
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(costs))])


def _most_common(truth: np.ndarray, given: np.ndarray, num_kept: int) -> np.ndarray:
    """The type that stands for each true one: itself where it is known."""
    table = np.zeros((int(truth.max()) + 1, int(given.max()) + 1), np.int64)
    np.add.at(table, (truth, given), 1)
    match = table.argmax(axis=1)
    match[:num_kept] = np.arange(num_kept)
    return np.asarray(match)
