"""What a decision tree on the form of the files gets right of a split's test images."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.checks.shortcuts import properties
from owdfa.records.file_properties import SETS, FileProperties

_MAX_ROWS = 20_000  # of training, and of test
_MIN_LEAF = 3


def file_properties(
    table: pa.Table, training: np.ndarray, tested: np.ndarray, known: Sequence[str]
) -> FileProperties:
    """Train on the files of training images, test on those of test images.

    The outcome depends on the arguments alone.

    Args:
        table: ``shortcuts.COLUMNS`` of the images.
        training: (rows,) bool: images that are trained on.
        tested: (rows,) bool.
        known: The known classes.
    """
    if find_spec("sklearn") is None:
        reason = "not known; that needs scikit-learn (pip install 'owdfa[train]'), then split again"
        return FileProperties((), {}, {}, reason)
    valid = np.asarray(pc.is_valid(table["class"]))
    learn, judge = _some(training & valid), _some(tested & valid)
    if not len(learn) or not len(judge):
        return FileProperties((), {}, {}, "not known; there are no images with a class to test on")
    rows = table.take(np.concatenate([learn, judge]))
    classes = np.asarray(rows["class"].to_pylist())
    features = properties(rows)
    guess = _guess(features, classes, len(learn))
    true = classes[len(learn) :]
    parts = {"all": np.ones(len(true), bool), "known": np.isin(true, list(known))}
    parts["novel"] = ~parts["known"]
    shown = {part: parts[part] for part in SETS if parts[part].any()}
    return FileProperties(
        tuple(features),
        {part: float((guess == true)[inside].mean()) for part, inside in shown.items()},
        {part: _commonest(true[inside]) for part, inside in shown.items()},
    )


def _some(chosen: np.ndarray) -> np.ndarray:
    """At most ``_MAX_ROWS`` of the rows that are chosen, evenly."""
    rows = np.flatnonzero(chosen)
    if len(rows) > _MAX_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _MAX_ROWS).astype(np.int64)]
    return rows


def _guess(features: dict[str, np.ndarray], classes: np.ndarray, num_learn: int) -> np.ndarray:
    """Classes of the rows after the first ``num_learn``, learnt from those."""
    learnt = classes[:num_learn]
    if not features or len(np.unique(learnt)) < 2:
        names, counts = np.unique(learnt, return_counts=True)
        return np.full(len(classes) - num_learn, names[counts.argmax()])
    from sklearn.tree import DecisionTreeClassifier

    leaves = max(8, 2 * len(np.unique(learnt)))
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=_MIN_LEAF, random_state=0)
    inputs = np.stack(list(features.values()), axis=1)
    found: np.ndarray = tree.fit(inputs[:num_learn], learnt).predict(inputs[num_learn:])
    return found


def _commonest(classes: np.ndarray) -> float:
    """Share of the commonest class."""
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))
