"""Features of made-up types: what the generative model says, in a skewed space."""

from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    features: np.ndarray  # (N, F)
    labels: np.ndarray  # (N,), known type or -1
    truth: np.ndarray  # (N,)


def sample(seed=0, *, num_known=4, num_novel=4, per_type=100, dim=24, distance=8.0, labelled=0.5):
    """Types whose means are ``distance`` apart, where images of a type deviate by 1."""
    stream = np.random.default_rng(seed)
    num = num_known + num_novel
    means = stream.normal(size=(num, dim)) * distance / np.sqrt(2 * dim)
    truth = np.repeat(np.arange(num), per_type)
    skew = np.linalg.qr(stream.normal(size=(dim, dim)))[0] * np.exp(0.7 * stream.normal(size=dim))
    features = (means[truth] + stream.normal(size=(len(truth), dim))) @ skew
    shown = (truth < num_known) & (stream.random(len(truth)) < labelled)
    mixed = stream.permutation(len(truth))
    labels = np.where(shown, truth, -1)
    return Sample(features[mixed], labels[mixed], truth[mixed])
