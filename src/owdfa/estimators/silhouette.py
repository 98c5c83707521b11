"""Number of classes at which semi-supervised k-means has the greatest mean silhouette.

Rousseeuw, 1987: (b - a) / max(a, b), where a is an image's mean distance to its own cluster and b
that to the nearest other one. Labelled images are held in their class, as in GCD's k-means.
"""

import numpy as np

from owdfa.clustering import semi_supervised_kmeans, squared_distances
from owdfa.estimators.base import Images, search
from owdfa.records.estimate import Curve

_STARTS = 8


def curve(images: Images, max_classes: int, seed: int) -> Curve:
    """Try numbers of classes from that of the known ones on."""
    from sklearn.metrics import silhouette_score

    rows, labels = images.rows, images.labels
    distances = np.sqrt(squared_distances(rows, rows))
    np.fill_diagonal(distances, 0)

    def score(number: int) -> float:
        found = semi_supervised_kmeans(
            rows, labels, number, seed=seed, num_starts=_STARTS, max_iterations=50
        )
        return float(silhouette_score(distances, found.assigned, metric="precomputed"))

    found = search(score, int(labels.max()) + 1, max_classes)
    tried = tuple(found)
    return Curve("classes", "mean silhouette", tried, tuple(found.values()), tried)
