"""Accuracy at each level, overall and per class, with intervals over groups."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import match
from owdfa.metrics.intervals import bootstrap_means, interval
from owdfa.records.rows import codes, indices_of
from owdfa.records.split import Split
from owdfa.records.stress import Share, Stress, StressLevel
from owdfa.stages.stress.grid import Level

_SETS = ("all", "known", "novel")


class Truth(NamedTuple):
    """What the images are."""

    classes: np.ndarray  # (N,) int64, place among ``names``
    groups: np.ndarray  # (N,) int64
    names: tuple[str, ...]  # of the classes, the known ones first
    num_known: int

    def only(self, rows: np.ndarray) -> "Truth":
        """That of some of the images."""
        return self._replace(classes=self.classes[rows], groups=self.groups[rows])


def truth_of(split: Split, ids: Sequence[str]) -> Truth:
    """What images of a split are; class -1 where nobody knows."""
    names = split.known + split.novel
    table = split.table.take(indices_of(ids, split.table["id"]))
    classes = pc.fill_null(pc.index_in(table["class"], pa.array(names, pa.string())), -1)
    groups = codes(pc.coalesce(table["group"], table["id"]))
    return Truth(np.asarray(classes).astype(np.int64), groups, names, len(split.known))


def right_indices(truth: Truth, unchanged: np.ndarray, num_indices: int) -> np.ndarray:
    """The index that counts as right for each class: (classes,) int64, -1 for none.

    A known class has its own. A novel one has its gcd-v2 match on the unchanged images: what a
    corruption does is judged by what the index meant before.

    Args:
        truth: What the images are: all test images, so that the match is that of ``score``.
        unchanged: (N,) int64, index predicted of each unchanged image.
        num_indices: How many there are.
    """
    table = contingency(truth.classes, unchanged, (len(truth.names), num_indices))
    found = match(table, truth.num_known).gcd
    return np.concatenate([np.arange(truth.num_known), found[truth.num_known :]])


def summarise(
    levels: Sequence[Level], predicted: Sequence[np.ndarray], truth: Truth, right: np.ndarray
) -> list[StressLevel]:
    """Judge every level.

    Args:
        levels: The unchanged one first.
        predicted: Of each level (N,) int64, the index of each image.
        truth: What the images are.
        right: (N,) int64, the index that is right for each image; -1 for none.
    """
    present = np.unique(truth.classes)
    known = truth.classes < truth.num_known
    parts = [np.ones_like(known), known, ~known, *(truth.classes == each for each in present)]
    inside = np.stack(parts, axis=1)
    names = [truth.names[each] for each in present]

    def judge(level: Level, index: np.ndarray) -> StressLevel:
        hits = np.where(inside, (index == right)[:, None], np.nan)
        same = (index == predicted[0])[:, None].astype(np.float64)
        shares = _shares(np.concatenate([hits, same], axis=1), truth.groups)
        what = {
            "name": level.name,
            "corruption": level.corruption,
            "title": level.title,
            "label": level.label,
            "function": level.function.__name__,
            "parameters": dict(level.parameters),
        }
        num = len(_SETS)
        sets = dict(zip(_SETS, shares[:num], strict=True))
        classes = dict(zip(names, shares[num:-1], strict=True))
        shown = {**what, **sets, "same": shares[-1], "per_class": classes}
        return StressLevel.model_validate(shown)

    return [judge(level, index) for level, index in zip(levels, predicted, strict=True)]


def _shares(values: np.ndarray, groups: np.ndarray) -> list[Share | None]:
    """Mean of each column with its interval; None of no image."""
    draws = bootstrap_means(values, groups)
    counts = (~np.isnan(values)).sum(axis=0)
    found: list[Share | None] = []
    for column, draw, num in zip(values.T, draws.T, counts.tolist(), strict=True):
        ends = interval(draw)
        value = float(np.nanmean(column)) if num else 0.0
        low, high = ends or (None, None)
        found.append(Share(value=value, low=low, high=high, num_images=num) if num else None)
    return found


def table_csv(made: Stress) -> str:
    """A line for each level and set of images: share, interval, number of images."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for level in made.levels:
        rows: list[tuple[str, Share | None]] = [
            *((name, getattr(level, name)) for name in (*_SETS, "same")),
            *((f"class {name}", share) for name, share in level.per_class.items()),
        ]
        for name, share in rows:
            if share is not None:
                numbers = [share.value, share.low, share.high, share.num_images]
                writer.writerow([level.corruption, level.label, name, *numbers])
    return stream.getvalue()


CSV_HEAD = ("corruption", "level", "of", "share", "low", "high", "images")
