"""Sampling rules: which images make up an epoch, and in which order.

A rule is a function of the visible labels and random numbers that depend on (seed, epoch) alone.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from owdfa.records.training import UNLABELLED

Sampling = Literal["shuffled", "half_labelled", "alternating"]

_ORDER = 2  # the random stream of the order; views have others, see ``owdfa.loading.views``


def sample_epoch(
    labels: np.ndarray, sampling: Sampling, num_images: int, *, seed: int, epoch: int
) -> np.ndarray:
    """Sample the images of an epoch.

    Args:
        labels: (N,) class indices, or ``UNLABELLED``.
        sampling: Name of the rule.
        num_images: Number of images to sample.
        seed: With ``epoch`` it decides the order.
        epoch: Counted from 0.

    Returns:
        (num_images,) int64: rows of ``labels``.
    """
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, _ORDER))))
    return RULES[sampling](labels, num_images, stream)


def shuffled(labels: np.ndarray, num_images: int, stream: np.random.Generator) -> np.ndarray:
    """Every image once before any comes again."""
    rounds = -(-num_images // len(labels))
    order = np.concatenate([stream.permutation(len(labels)) for _ in range(rounds)])
    return order[:num_images]


def half_labelled(labels: np.ndarray, num_images: int, stream: np.random.Generator) -> np.ndarray:
    """CAL's rule: with replacement, half from the labelled images, half from the unlabelled ones.

    The same as weight 1 for a labelled image and num_labelled / num_unlabelled for another. Where
    there are none of one kind, all are of the other.
    """
    kinds = [np.flatnonzero(labels != UNLABELLED), np.flatnonzero(labels == UNLABELLED)]
    kind, position = stream.random((2, num_images))
    share = 0.5 if all(map(len, kinds)) else float(len(kinds[0]) > 0)
    labelled, unlabelled = (
        np.resize(rows, max(1, len(rows)))[(position * len(rows)).astype(np.int64)]
        for rows in kinds
    )
    sampled: np.ndarray = np.where(kind < share, labelled, unlabelled)
    return sampled


def alternating(labels: np.ndarray, num_images: int, stream: np.random.Generator) -> np.ndarray:
    """CPL's rule: in turn an unlabelled image, and one of the labelled class seen least so far.

    Classes seen alike are in random order. The images of a class, and the unlabelled ones, each
    come once before any comes again. Where there are none of one kind, all are of the other.
    """
    unlabelled, labelled = np.flatnonzero(labels == UNLABELLED), labels[labels != UNLABELLED]
    if not len(labelled):
        return shuffled(labels, num_images, stream)
    num_labelled = num_images // 2 if len(unlabelled) else num_images
    queues = [stream.permutation(np.flatnonzero(labels == c)) for c in np.unique(labelled)]
    rounds = -(-num_labelled // len(queues))
    by_round = np.stack([np.resize(queue, rounds) for queue in queues], axis=1)
    rows = stream.permuted(by_round, axis=1).ravel()[:num_labelled]
    if not len(unlabelled):
        return rows
    order = np.empty(num_images, dtype=np.int64)
    order[0::2] = np.resize(stream.permutation(unlabelled), num_images - num_labelled)
    order[1::2] = rows
    return order


RULES: Mapping[Sampling, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "shuffled": shuffled,
    "half_labelled": half_labelled,
    "alternating": alternating,
}
