"""Number of modules that Infomap finds on the graph of nearest neighbours (package infomap).

Rosvall and Bergstrom, 2008; used for category discovery by MGCE and DCCL. Each image has edges to
its nearest neighbours, weighted by the cosine of embeddings from which the mean was taken, where
that is positive; directed, two levels. Of several numbers of neighbours, the one at which the
labelled images, whose labels Infomap is not given, are clustered best; of equals, the greatest.
Modules of a few images are outliers, as in MGCE.
"""

import numpy as np

from owdfa.errors import UserError
from owdfa.estimators.base import NOISE, Images, labelled_accuracy
from owdfa.records.estimate import Curve

_NEIGHBOURS = (5, 8, 12, 18, 27, 40)
_OUTLIERS = 4  # images: a module of no more is none


def curve(images: Images, max_classes: int, seed: int) -> Curve:  # noqa: ARG001
    """Try numbers of nearest neighbours."""
    rows, labels = images.rows, images.labels
    centred = rows - rows.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(rows.dtype).tiny)
    cosines = centred @ centred.T
    np.fill_diagonal(cosines, -1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : max(_NEIGHBOURS)]
    tried = [number for number in _NEIGHBOURS if number <= len(rows) // 4] or [1]
    found = []
    for number in tried:
        clusters = _modules(cosines, order[:, :number], seed)
        found.append((labelled_accuracy(labels, clusters), int(clusters.max()) + 1))
    scores, num_classes = zip(*found, strict=True)
    return Curve("neighbours", "accuracy of labelled images", tuple(tried), scores, num_classes)


def _modules(cosines: np.ndarray, neighbours: np.ndarray, seed: int) -> np.ndarray:
    """Module of every image from 0, or ``NOISE`` for outliers."""
    try:
        from infomap import Infomap
    except ImportError:
        raise UserError("estimator infomap: install the package infomap") from None
    graph = Infomap(silent=True, two_level=True, directed=True, seed=seed + 1)
    for image in range(len(cosines)):
        graph.add_node(image)
    near = np.take_along_axis(cosines, neighbours, axis=1)
    ends = zip(*np.nonzero(near > 0), strict=True)
    graph.add_links([(int(i), int(neighbours[i, j]), float(near[i, j])) for i, j in ends])
    found = graph.run().modules()
    modules = np.array([found[image] for image in range(len(cosines))], dtype=np.int64)
    _, position, sizes = np.unique(modules, return_inverse=True, return_counts=True)
    kept = sizes > _OUTLIERS
    return np.asarray(np.where(kept, np.cumsum(kept) - 1, NOISE)[position])
