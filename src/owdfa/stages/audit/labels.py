"""Labels that look wrong, by confident learning.

The rule of C. G. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels" (JAIR 70, 2021, arXiv:1911.00068), on probabilities that are out of fold:

    t_j = mean of p_j over the images labelled j
    an image labelled y is a candidate where argmax of p_j over {j : p_j >= t_j} is not y

The probabilities are of a linear discriminant analysis of the embedding (shrunk covariance), fitted
to the other folds; a group is in one fold. Candidates are ordered by p_j - p_y.
"""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from owdfa.checks.shortcuts import group_folds
from owdfa.stages.audit.embedding import Embedding, nearest
from owdfa.stages.audit.findings import MAX_PAIRS, Finding, Pair
from owdfa.stages.audit.images import Images

_MOST = 30_000  # images that are looked at, evenly
_FEWEST = 8  # images of a class that takes part


def doubtful_labels(images: Images, embedding: Embedding) -> Iterator[Finding]:
    """Images that look more like another class than like their own."""
    if find_spec("sklearn") is None:
        return
    classes = images.classes[embedding.rows]
    enough = np.bincount(classes[classes >= 0], minlength=1) >= _FEWEST
    kept = np.flatnonzero((classes >= 0) & enough[classes])
    if len(kept) > _MOST:
        kept = kept[np.linspace(0, len(kept) - 1, _MOST).astype(np.int64)]
    names, labels = np.unique(classes[kept], return_inverse=True)
    if len(names) < 2:
        return
    vectors, rows = embedding.vectors[kept], embedding.rows[kept]
    folds = group_folds(images.groups[rows], labels)
    probabilities = out_of_fold(vectors, labels, folds)
    suggested = confident(probabilities, labels)
    found = np.flatnonzero(suggested != labels)
    if not len(found):
        return
    doubt = probabilities[found, suggested[found]] - probabilities[found, labels[found]]
    found = found[np.argsort(-doubt, kind="stable")]
    pairs = []
    for place in found[:MAX_PAIRS].tolist():
        others = np.flatnonzero(labels == suggested[place])
        (like,), _ = nearest(vectors[place][None], vectors[others])
        other = int(rows[others[like]])
        sure = probabilities[place, suggested[place]]
        note = f"looks like {images.table['class'][other]} (probability {sure:.2f})"
        pairs.append(Pair(int(rows[place]), other, note))
    line = (
        f"{len(found)} of {len(kept)} images look more like another class than like their own in"
        f" {embedding.name} (confident learning); a weak embedding doubts much, so look at them"
    )
    yield Finding("doubtful labels", line, pairs=tuple(pairs))


def out_of_fold(vectors: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of each image by a model that was fitted without its fold.

    A class that is in no other fold has probability 0 there.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    found = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in np.unique(folds):
        held = folds == fold
        learnt = np.unique(labels[~held])
        if len(learnt) < 2 or int((~held).sum()) <= len(learnt):  # too few to fit anything to
            found[np.ix_(held, learnt)] = 1 / max(len(learnt), 1)
            continue
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model.fit(vectors[~held].astype(np.float64), labels[~held])
        found[np.ix_(held, learnt)] = model.predict_proba(vectors[held].astype(np.float64))
    return found


def confident(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that each image is confidently of, else its label: (N,) int64.

    Args:
        probabilities: (N, C), out of fold.
        labels: (N,) int64; every class occurs.
    """
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = np.bincount(labels, own) / np.bincount(labels)
    sure = np.where(probabilities >= thresholds, probabilities, -1)
    return np.where(sure.max(axis=1) >= 0, sure.argmax(axis=1), labels)
