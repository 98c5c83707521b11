"""Can images of novel classes be told from those of known ones?"""

import numpy as np
from jaxtyping import Bool, Float


def auroc(
    scores: Float[np.ndarray, "images"], positive: Bool[np.ndarray, "images"]
) -> float | None:
    """Chance that a positive image scores above another one; equal scores count half.

    Args:
        scores: Greater for positive images, if all is well.
        positive: Which images are positive.

    Returns:
        Area under the ROC curve; None where all images are positive, or none is.

    Example:
        >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
        0.875
    """
    num = int(positive.sum())
    others = len(positive) - num
    if not num or not others:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal scores share the mean of their ranks
    above = float(ranks[place][positive].sum()) - num * (num + 1) / 2
    return above / (num * others)
