"""Number of dense regions that HDBSCAN finds (Campello et al., 2013; scikit-learn).

The least size of a cluster decides how many there are: of several, the one at which the labelled
images, whose labels HDBSCAN is not given, are clustered best; of equals, the greatest. Images in no
region count as wrong.
"""

import numpy as np

from owdfa.clustering import squared_distances
from owdfa.estimators.base import Images, labelled_accuracy
from owdfa.records.estimate import Curve

_SHARES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05)  # of all images: the least size of a cluster
_LEAST = 3  # images


def curve(images: Images, max_classes: int, seed: int) -> Curve:  # noqa: ARG001
    """Try least sizes of a cluster."""
    from sklearn.cluster import HDBSCAN

    rows, labels = images.rows, images.labels
    distances = np.sqrt(squared_distances(rows, rows)).astype(np.float64)
    np.fill_diagonal(distances, 0)
    sizes = sorted({max(_LEAST, round(share * len(rows))) for share in _SHARES})
    found = []
    for size in sizes:
        clusterer = HDBSCAN(
            min_cluster_size=size, min_samples=_LEAST, metric="precomputed", copy=True
        )
        clusters = clusterer.fit(distances).labels_.astype(np.int64)
        found.append((labelled_accuracy(labels, clusters), int(clusters.max()) + 1))
    scores, num_classes = zip(*found, strict=True)
    return Curve("least size", "accuracy of labelled images", tuple(sizes), scores, num_classes)
