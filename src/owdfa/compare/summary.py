"""What the cells of a comparison add up to: means, spreads, paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.compare.cell import COST, PREDICTIONS, SCORES
from owdfa.compare.grid import Cell
from owdfa.files import read_json
from owdfa.metrics.intervals import MEASURES, Interval, bootstrap, interval
from owdfa.records.estimate import RunEstimate
from owdfa.records.scores import Scores
from owdfa.stages.score import count_groups

MINUTES, MEMORY, NUM_CLASSES = "minutes", "peak memory, GiB", "number of classes"
MORE = ("AUROC", "macro", "novel discovered", NUM_CLASSES, MINUTES, MEMORY)


class Result(NamedTuple):
    """A finished cell."""

    cell: Cell
    scores: Scores
    values: dict[str, float]  # by measure: ``MEASURES`` and ``MORE``; NaN where there is none
    draws: np.ndarray  # (draws, MEASURES), of groups drawn anew; paired between cells of a split
    estimated: tuple[int, int] | None = None  # interval of the number of classes


class Summary(NamedTuple):
    """A measure over the cells of a row."""

    mean: float
    over_seeds: float | None  # standard deviation over training seeds, within splits
    over_splits: float | None  # standard deviation of the splits' means
    num: int
    estimated: Interval | None = None  # mean ends, of a number of classes that was estimated


class Difference(NamedTuple):
    """A measure of a row less that of the row it is compared with, in pairs of equal seeds."""

    mean: float
    interval: Interval | None
    over_pairs: float | None  # standard deviation
    num: int


class RowKey(NamedTuple):
    """A row of the table."""

    protocol: str
    name: str
    classes: str


def read_result(root: Path, cell: Cell) -> Result:
    """Read a finished cell, and draw its groups anew for intervals.

    Raises:
        UserError: A file of it is missing or damaged.
    """
    folder = root / cell.folder
    scores = Scores.read(folder / SCORES)
    cost = read_json(folder / COST, what="what a cell cost")
    values = measures_of(scores)
    values[MEMORY] = cost["peak_memory_gib"]
    if cost["attempts"] == 1:  # the time of one that was killed is not known
        values[MINUTES] = (cost["train_seconds"] + cost["test_seconds"]) / 60
    draws = bootstrap(*count_groups(folder / PREDICTIONS, root / cell.split))
    estimate = RunEstimate.find(folder)
    return Result(cell, scores, values, draws, estimate.estimate.interval if estimate else None)


def measures_of(scores: Scores) -> dict[str, float]:
    """Those of the measures that scores hold."""
    values = {
        f"{rule} {part}": scores.conventions[rule][part]["acc"]
        for rule in ("gcd-v2", "paper")
        for part in ("all", "known", "novel")
        if dict(scores.num_images)[part]
    }
    if scores.num_images["novel"]:
        values["novel given to known"] = scores.novel_given_to_known
        values["novel discovered"] = scores.num_novel["discovered"]
    if scores.novel_auroc is not None:
        values["AUROC"] = scores.novel_auroc
    values["macro"] = scores.macro_acc
    values[NUM_CLASSES] = scores.num_classes["active"]
    return values


def by_row(results: Sequence[Result]) -> dict[RowKey, list[Result]]:
    """Results of each row, in order of first appearance."""
    rows: dict[RowKey, list[Result]] = {}
    for each in results:
        key = RowKey(each.cell.protocol, each.cell.row, each.cell.classes)
        rows.setdefault(key, []).append(each)
    return rows


def summarise(results: Sequence[Result], measure: str) -> Summary | None:
    """Mean and spreads of a measure; None where no cell has it."""
    by_split: dict[int, list[float]] = {}
    for each in results:
        if measure in each.values:
            by_split.setdefault(each.cell.split_seed, []).append(each.values[measure])
    if not by_split:
        return None
    means = [float(np.mean(found)) for found in by_split.values()]
    several = [found for found in by_split.values() if len(found) > 1]
    within = [float(np.var(found, ddof=1)) for found in several]
    return Summary(
        mean=float(np.mean(means)),
        over_seeds=float(np.sqrt(np.mean(within))) if within else None,
        over_splits=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        num=sum(map(len, by_split.values())),
        estimated=_ends(results) if measure == NUM_CLASSES else None,
    )


def _ends(results: Sequence[Result]) -> Interval | None:
    ends = [each.estimated for each in results if each.estimated is not None]
    return Interval(*np.mean(ends, axis=0).tolist()) if ends else None


def difference(row: Sequence[Result], other: Sequence[Result], measure: str) -> Difference | None:
    """How much better a row is than another, over the seeds that both have.

    The interval draws the groups of the test images anew, the same for both; splits have draws of
    their own. It does not hold what other training seeds would change: ``over_pairs`` does.
    """
    pairs = list(_pairs(row, other))
    found = [(a, b) for a, b in pairs if measure in a.values and measure in b.values]
    if not found:
        return None
    gaps = [a.values[measure] - b.values[measure] for a, b in found]
    ends = None
    if measure in MEASURES:
        column = MEASURES.index(measure)
        draws = [a.draws[:, column] - b.draws[:, column] for a, b in found]
        ends = interval(np.mean(draws, axis=0))
    spread = float(np.std(gaps, ddof=1)) if len(gaps) > 1 else None
    return Difference(float(np.mean(gaps)), ends, spread, len(gaps))


def _pairs(row: Sequence[Result], other: Sequence[Result]) -> list[tuple[Result, Result]]:
    def key(each: Result) -> tuple[int, int]:
        return each.cell.split_seed, each.cell.seed

    there = {key(each): each for each in other}
    return [(each, there[key(each)]) for each in row if key(each) in there]


def reference_of(
    rows: Mapping[RowKey, Sequence[Result]], key: RowKey, against: str
) -> RowKey | None:
    """The row to compare ``key`` with: ``against``, told as much of the number of classes if it is.

    None for the reference itself, and where nothing of it is done.
    """
    same = [other for other in rows if other.protocol == key.protocol and other.name == against]
    if not same or key.name == against:
        return None
    return next((other for other in same if other.classes == key.classes), same[0])
