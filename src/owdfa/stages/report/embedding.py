"""A flat map on which images that the network finds alike lie close together."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MAX_POINTS = 1500  # a page with more is slow to draw and to read
_NUM_COMPONENTS = 50  # distances in more dimensions cost time and change nothing visible
_MIN_POINTS = 5


class Map(NamedTuple):
    """Places of some images on the map."""

    rows: Int[np.ndarray, "points"]  # which images, ascending
    places: Float[np.ndarray, "points 2"]


def project(directions: Float[np.ndarray, "images dim"]) -> Map | None:
    """Lay images out by t-SNE from a PCA start; None when there are too few for a picture.

    The same embeddings give the same map: the sample and t-SNE have a fixed seed. Without
    scikit-learn, which the base install lacks, the first two principal components are the map.

    Args:
        directions: Embeddings at length 1, so that Euclidean distance orders pairs as cosine does.
    """
    rows = np.arange(len(directions))
    if len(rows) < _MIN_POINTS:
        return None
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    chosen = directions[rows].astype(np.float64)
    if not np.ptp(chosen, axis=0).any():
        return None  # all images fall on one point
    num_components = min(_NUM_COMPONENTS, *chosen.shape)
    if num_components < 2:
        return None
    centred = chosen - chosen.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    reduced = (left * scale)[:, :num_components]
    if find_spec("sklearn") is None:
        return Map(rows, reduced[:, :2])
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    places = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(reduced)
    return Map(rows, np.asarray(places, dtype=np.float64))
