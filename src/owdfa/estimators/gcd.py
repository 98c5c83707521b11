"""Number of clusters of k-means at which labelled images are clustered best (GCD's search).

Vaze et al., CVPR 2022, https://arxiv.org/abs/2201.02609, section 3.3: k-means over all images, no
label used; for every number of clusters, the accuracy of the labelled images by the best match of
clusters with classes. The release searches with Brent's method, which assumes one maximum; here
numbers at equal ratios are tried, then those near the best.
"""

import numpy as np

from owdfa.clustering import semi_supervised_kmeans
from owdfa.estimators.base import Images, labelled_accuracy, search
from owdfa.records.estimate import Curve
from owdfa.records.training import UNLABELLED

_STARTS = 8


def curve(images: Images, max_classes: int, seed: int) -> Curve:
    """Try numbers of clusters from that of the known classes on."""
    rows, labels = images.rows, images.labels
    nothing = np.full(len(rows), UNLABELLED)

    def score(number: int) -> float:
        found = semi_supervised_kmeans(
            rows, nothing, number, seed=seed, num_starts=_STARTS, max_iterations=50
        )
        return labelled_accuracy(labels, found.assigned)

    found = search(score, int(labels.max()) + 1, max_classes)
    tried = tuple(found)
    return Curve("classes", "accuracy of labelled images", tried, tuple(found.values()), tried)
