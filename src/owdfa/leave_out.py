"""Leave known classes out: hide labels that are there, to see what becomes of images without them.

A setting that concerns novel classes is chosen by this, and never by hidden labels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from owdfa.records.training import UNLABELLED


class HiddenRound(NamedTuple):
    """One known class without any label, and the others with half of theirs.

    Attributes:
        visible: (N,) int64: the labels that are left.
        hidden_class: The class that plays a novel one.
        held: (M,) int64: images whose label was hidden, of the class and of the others.
    """

    visible: np.ndarray
    hidden_class: int
    held: np.ndarray

    def found_again(self, labels: np.ndarray, assigned: np.ndarray) -> np.ndarray:
        """Where each held image belongs: (M,) int64.

        An image of the hidden class belongs to the cluster without a visible label that holds most
        of that class, or to its own index where there is none; any other to its class.

        Args:
            labels: (N,) int64, those before hiding.
            assigned: (N,) int64: cluster of every image; those of visible classes are the classes.
        """
        given = np.unique(self.visible)
        hidden = assigned[labels == self.hidden_class]
        free = hidden[~np.isin(hidden, given)]
        cluster = np.bincount(free).argmax() if len(free) else self.hidden_class
        truth = labels[self.held]
        return np.where(truth == self.hidden_class, cluster, truth)


def hidden_rounds(labels: np.ndarray, seed: int, max_rounds: int = 8) -> Iterator[HiddenRound]:
    """Hide each known class in turn.

    Args:
        labels: (N,) int64: class, or ``UNLABELLED``.
        seed: Decides which classes, where there are more than rounds, and which half.
        max_rounds: The most rounds.
    """
    stream = np.random.default_rng(seed)
    known = np.unique(labels[labels != UNLABELLED])
    for hidden in stream.permutation(known)[:max_rounds].tolist():
        visible = labels.copy()
        for each in known.tolist():
            rows = stream.permutation(np.flatnonzero(labels == each))
            visible[rows if each == hidden else rows[(len(rows) + 1) // 2 :]] = UNLABELLED
        if (visible != UNLABELLED).any():
            yield HiddenRound(visible, hidden, np.flatnonzero(visible != labels))
