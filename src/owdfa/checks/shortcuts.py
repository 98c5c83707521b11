"""Shortcuts: whether the form of the files alone tells the classes apart.

Where all real images are JPEG files of 64 pixels and all forgeries PNG files of 48, a network needs
no trace of forgery to score well, and scores well on nothing else. A small decision tree tries: on
file format, size, bytes per pixel and JPEG quality, cross-validated over groups; ``rate`` tries
each property alone too, and those of ``MORE`` where the table has them.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.records.rows import codes

COLUMNS = ("id", "class", "group", "format", "width", "height", "bytes", "jpeg_quality")
MORE = {"source": "source", "jpeg_tables": "JPEG tables", "jpeg_form": "JPEG form"}
"""Properties that only an audit looks at: column and name."""
_NOT_OF_THE_FILE = ("source",)
_MAX_ROWS = 20_000
_FOLDS = 4
_MIN_IMAGES = 8  # of a class that is looked at
_CLEAR = 0.4  # of the way from chance to certainty
_SIGMAS = 3.0  # standard deviations above chance, for classes of few groups
_ALIKE = 0.05  # classes told almost as surely as the surest are named together


class Shortcut(NamedTuple):
    """How well the form of the files tells classes apart."""

    columns: tuple[str, ...]  # each of which tells them apart; all where none does alone
    accuracy: float  # balanced: the mean of the recalls
    chance: float
    classes: tuple[str, ...]  # each told from the rest; empty where all are told from one another

    def __str__(self) -> str:
        named = list(self.columns)
        if {"width", "height"} <= set(named):
            named[named.index("width")] = "size"
            named.remove("height")
        *others, last = named
        columns = f"{', '.join(others)} and {last}" if others else last
        tell = "tell" if others else "tells"
        whom = "the classes apart"
        if self.classes:
            shown = ", ".join(repr(name) for name in self.classes[:3])
            more = f" and {len(self.classes) - 3} more" if len(self.classes) > 3 else ""
            whom = f"{shown}{more} from the other classes"
        return (
            f"{columns} alone {tell} {whom} with {self.accuracy:.0%} (chance "
            f"{self.chance:.0%}), so a network may learn that instead of traces; save all images "
            "anew in one format and size, or take each class from the same sources"
        )


class Rating(NamedTuple):
    """How well properties alone tell all classes apart."""

    properties: tuple[str, ...]
    accuracy: float  # balanced: the mean of the recalls
    chance: float
    best: str  # class told best from all others
    best_accuracy: float  # balanced, of that class against the rest; chance is 1/2
    shortcut: Shortcut | None  # None where that may be chance


def find_shortcut(table: pa.Table) -> Shortcut | None:
    """Look for a shortcut in the usable images of a manifest; None where there is none to speak of.

    The outcome depends on the table alone.

    Args:
        table: ``COLUMNS``.
    """
    task = _task(sample(table))
    if task is None:
        return None
    found = _verdict(task.answers(list(task.features)), tuple(task.features))
    if found is None:
        return None
    telling = tuple(n for n in task.features if _verdict(task.answers([n]), (n,)))
    return found._replace(columns=telling or found.columns)


def rate(rows: pa.Table) -> list[Rating]:
    """Rate all properties of the files together, then each property that differs alone.

    Args:
        rows: What ``sample`` chose, perhaps with columns of ``MORE``.

    Returns:
        None at all where there are no two classes, or the files are alike in everything.
    """
    task = _task(rows)
    if task is None:
        return []
    together = [name for name in task.features if name not in _NOT_OF_THE_FILE]
    chosen = [together] * (len(together) > 1) + [[name] for name in task.features]
    return [_rating(task.answers(each), tuple(each)) for each in chosen]


def _rating(answers: "_Answers", properties: tuple[str, ...]) -> Rating:
    names = answers.names
    alone = answers.one_against_rest()
    best = int(alone.argmax())
    return Rating(
        properties,
        float(answers.recalls().mean()),
        1 / len(names),
        str(names[best]),
        float(alone[best]),
        _verdict(answers, properties),
    )


def shortcut_note(table: pa.Table) -> str | None:
    """What the user should know of shortcuts, in one line; None where there is nothing to say.

    Args:
        table: ``COLUMNS``.
    """
    if find_spec("sklearn") is None:
        return (
            "whether format and size give the class away was not checked; that needs scikit-learn"
            " (pip install 'owdfa[train]')"
        )
    found = find_shortcut(table)
    return None if found is None else str(found)


class _Answers(NamedTuple):
    """What the tree took each image for."""

    names: np.ndarray  # of the classes
    classes: np.ndarray  # (rows,) int64
    guess: np.ndarray  # (rows,) int64, -1 where the tree had nothing to learn from
    num_groups: np.ndarray  # (classes,) int64

    def recalls(self) -> np.ndarray:
        """Share of each class's images that are right: (classes,)."""
        right = self.classes[self.guess == self.classes]
        num_right = np.bincount(right, minlength=len(self.names))
        found: np.ndarray = num_right / np.bincount(self.classes)
        return found

    def one_against_rest(self) -> np.ndarray:
        """Balanced accuracy of each class against all others: (classes,)."""
        missed = (self.guess != self.classes) & (self.guess >= 0)
        wrong = np.bincount(self.guess[missed], minlength=len(self.names))
        accused = wrong / (len(self.classes) - np.bincount(self.classes))
        found: np.ndarray = (self.recalls() + 1 - accused) / 2
        return found


class _Task(NamedTuple):
    """Classes to be told by properties of files."""

    names: np.ndarray
    classes: np.ndarray
    features: dict[str, np.ndarray]
    folds: np.ndarray
    num_groups: np.ndarray

    def answers(self, chosen: Sequence[str]) -> _Answers:
        """What a tree that is given these properties takes each image for."""
        inputs = np.stack([self.features[name] for name in chosen], axis=1)
        guess = _guesses(inputs, self.classes, self.folds)
        return _Answers(self.names, self.classes, guess, self.num_groups)


def _task(rows: pa.Table) -> _Task | None:
    """None where there are no two classes, or nothing in which files differ."""
    names, classes = np.unique(rows["class"].to_pylist(), return_inverse=True)
    features = properties(rows)
    if len(names) < 2 or not features:
        return None
    groups = codes(pc.coalesce(rows["group"], rows["id"]))
    num_groups = np.bincount(np.unique(np.stack([classes, groups]), axis=1)[0])
    return _Task(names, classes, features, group_folds(groups, classes), num_groups)


def _guesses(inputs: np.ndarray, classes: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The class that a tree which has not seen a row's fold gives it: (rows,) int64."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(8, 2 * (int(classes.max()) + 1)),
        min_samples_leaf=3,
        class_weight="balanced",
        random_state=0,
    )
    guess = np.full(len(classes), -1)
    for fold in range(_FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            guess[held] = tree.fit(inputs[~held], classes[~held]).predict(inputs[held])
    return guess


def _verdict(answers: _Answers, columns: tuple[str, ...]) -> Shortcut | None:
    """Weigh all classes against one another, and each against the rest, where that says more."""
    names, num_groups = answers.names, answers.num_groups
    alone = answers.one_against_rest()
    deviation = np.sqrt(1 / num_groups + 1 / (num_groups.sum() - num_groups)) / 4
    told = np.flatnonzero(alone > 0.5 + np.maximum(_CLEAR / 2, _SIGMAS * deviation))
    chance = 1 / len(names)
    all_ = float(answers.recalls().mean())
    noise = np.sqrt(chance * (1 - chance) * (1 / num_groups).sum()) / len(names)
    if all_ > chance + max(_CLEAR * (1 - chance), _SIGMAS * noise):
        each = (all_ - chance) / (1 - chance) >= 2 * alone.max() - 1 - 1e-9
        if each or not len(told):
            return Shortcut(columns, all_, chance, ())
    if not len(told):
        return None
    told = told[alone[told] > alone.max() - _ALIKE]
    told = told[np.argsort(-alone[told], kind="stable")]
    return Shortcut(columns, float(alone[told[-1]]), 0.5, tuple(names[told].tolist()))


def sample(table: pa.Table, more: Sequence[str] = ()) -> pa.Table:
    """At most ``_MAX_ROWS`` labelled rows, evenly over the table, of classes large enough.

    Args:
        table: ``COLUMNS`` and others.
        more: Which of these to keep.
    """
    rows = table.select([*COLUMNS, *more]).filter(pc.is_valid(table["class"]))
    if len(rows) > _MAX_ROWS:
        rows = rows.take(np.linspace(0, len(rows) - 1, _MAX_ROWS).astype(np.int64))
    counts = rows["class"].value_counts()
    large = counts.filter(pc.greater_equal(counts.field("counts"), _MIN_IMAGES)).field("values")
    return rows.filter(pc.is_in(rows["class"], large))


def properties(rows: pa.Table) -> dict[str, np.ndarray]:
    """Columns that are not the same everywhere, (rows,) float64 each; -1 where unknown."""
    width, height, size, quality = (
        np.asarray(pc.fill_null(rows[name], -1)).astype(np.float64)
        for name in ("width", "height", "bytes", "jpeg_quality")
    )
    features = {
        "format": codes(rows["format"]).astype(np.float64),
        "width": width,
        "height": height,
        "bytes per pixel": size / np.maximum(width * height, 1),
        "JPEG quality": quality,
    }
    for column, name in MORE.items():
        if column in rows.column_names:
            features[name] = codes(rows[column]).astype(np.float64)
    return {name: column for name, column in features.items() if len(column) and np.ptp(column)}


def group_folds(groups: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Fold of each row: whole groups, and of each class about as many groups in each fold."""
    _, first = np.unique(groups, return_index=True)
    order = np.argsort(classes[first], kind="stable")
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % _FOLDS
    _, number = np.unique(groups, return_inverse=True)
    found: np.ndarray = fold[number]
    return found
