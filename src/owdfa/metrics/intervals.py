"""How far a score would move with other test images: a bootstrap over groups.

Images of one group (a video, a person) are alike, so whole groups are drawn again, with
replacement; drawing single images would give intervals that are too narrow. The interval says
nothing of other training seeds, other splits or other classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from owdfa.metrics.conventions import match

NUM_DRAWS = 500
LEVEL = 0.95
MEASURES = (
    *(f"{rule} {part}" for rule in ("gcd-v2", "paper") for part in ("all", "known", "novel")),
    "novel given to known",
)


class Interval(NamedTuple):
    """Ends of an interval that holds ``LEVEL`` of the draws."""

    low: float
    high: float


def bootstrap(
    images: "GroupedCells", num_known: int, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Float[np.ndarray, "draws measures"]:
    """Score the images again and again, with their groups drawn anew.

    Two runs that are scored on the same images get the same draws, so that differences of the
    outcomes are paired.

    Args:
        images: The images by group, true class and predicted index.
        num_known: How many classes are known.
        num_draws: How often.
        seed: Of the draws.

    Returns:
        ``MEASURES`` of each draw; NaN where a draw holds no such image.
    """
    tables = images.drawn(num_draws, seed)
    return np.stack([measures(table, num_known) for table in tables])


def interval(draws: Float[np.ndarray, "draws"]) -> Interval | None:
    """The interval between two quantiles of the draws; None where no draw has a value."""
    kept = draws[~np.isnan(draws)]
    if not len(kept):
        return None
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def bootstrap_means(
    values: Float[np.ndarray, "images measures"],
    groups: Int[np.ndarray, "images"],
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draws measures"]:
    """Mean of each column again and again, with the groups of the images drawn anew.

    Args:
        values: A number of each image; NaN where the image does not count in a column.
        groups: Group of each image, any integers. Equal groups get equal draws.
        num_draws: How often.
        seed: Of the draws.

    Returns:
        Means of each draw; NaN where a draw holds no image that counts.
    """
    _, numbered = np.unique(groups, return_inverse=True)
    num_groups, counted = int(numbered.max(initial=-1)) + 1, ~np.isnan(values)
    sums, counts = np.zeros((2, num_groups, values.shape[1]))
    np.add.at(sums, numbered, np.where(counted, values, 0))
    np.add.at(counts, numbered, counted)
    stream = np.random.default_rng(seed)
    means = np.full((num_draws, values.shape[1]), np.nan)
    for row in means:
        drawn = stream.integers(num_groups, size=num_groups)
        times = np.bincount(drawn, minlength=num_groups).astype(np.float64)
        number = times @ counts
        np.divide(times @ sums, number, out=row, where=number > 0)
    return means


def measures(
    table: Int[np.ndarray, "classes indices"], num_known: int
) -> Float[np.ndarray, "measures"]:
    """``MEASURES`` of a table of images by true class and predicted index; NaN of no image.

    Example:
        >>> table = np.array([[8, 2, 0], [0, 9, 0], [0, 10, 0]])
        >>> measures(table, num_known=2).round(2).tolist()
        [0.62, 0.42, 1.0, 0.93, 0.89, 1.0, 1.0]
    """
    known, novel = table[:num_known], table[num_known:]
    found = match(table, num_known)
    given = novel[:, :num_known].sum()
    hits = np.array([*found.gcd_right, *found.paper_right, given], dtype=np.float64)
    parts = [table.sum(), known.sum(), novel.sum()]
    images = np.array([*parts, *parts, parts[2]], dtype=np.float64)
    return np.asarray(np.where(images > 0, hits / np.maximum(images, 1), np.nan))


@dataclass(frozen=True)
class GroupedCells:
    """Images counted by group, true class and predicted index; cells without an image left out."""

    groups: Int[np.ndarray, "cells"]
    cells: Int[np.ndarray, "cells"]  # class * indices + index
    counts: Int[np.ndarray, "cells"]
    num_groups: int
    shape: tuple[int, int]  # classes, indices

    @classmethod
    def count(
        cls,
        groups: Int[np.ndarray, "images"],
        classes: Int[np.ndarray, "images"],
        indices: Int[np.ndarray, "images"],
        shape: tuple[int, int],
    ) -> "GroupedCells":
        """Count images.

        Args:
            groups: Group of each image, any integers.
            classes: True class of each, in ``range(shape[0])``.
            indices: Predicted index of each, in ``range(shape[1])``.
            shape: Number of classes and of indices.
        """
        _, numbered = np.unique(groups, return_inverse=True)
        size = shape[0] * shape[1]
        keys, counts = np.unique(numbered * size + classes * shape[1] + indices, return_counts=True)
        return cls(*np.divmod(keys, size), counts, int(numbered.max(initial=-1)) + 1, shape)

    def drawn(self, num_draws: int, seed: int) -> Iterator[Int[np.ndarray, "classes indices"]]:
        """Tables of images by class and index, of groups drawn with replacement."""
        stream = np.random.default_rng(seed)
        size = self.shape[0] * self.shape[1]
        for _ in range(num_draws):
            drawn = stream.integers(self.num_groups, size=self.num_groups)
            times = np.bincount(drawn, minlength=self.num_groups)
            weights = times[self.groups] * self.counts
            table = np.bincount(self.cells, weights, minlength=size)
            yield table.astype(np.int64).reshape(self.shape)
