"""One verdict of several images of one source, as the frames of a video: the mean, not the product.

The probability of a statement is the mean of its probabilities in the images. Frames of a video
show the same face, light and compression, and err together; multiplying their probabilities, as of
independent witnesses, would make any error certain. The mean counts all of them as one witness.

A mean is at most its largest term. So a false statement that passes its threshold passed it in one
of the images; and thresholds are chosen by groups that count as wronged when one of their images
is (``limits``). Their bounds hold for the source as a whole, however many faces and frames it has,
if those held out had as many images. The mean of logits has no such bound.

A class is in the set where it is in the sets of at least half of the images. At most a share 1 - a
of images lack their class in their sets (``conformal``); so by Markov's inequality more than half
of a source's images do in at most 2 (1 - a) of sources, and the set has it in 2 a - 1 of them.
"""

import numpy as np
from jaxtyping import Bool, Float


def pooled(
    probabilities: Float[np.ndarray, "images classes"],
) -> Float[np.ndarray, "classes"]:
    """Probabilities of a source, from calibrated ones of its images."""
    result: np.ndarray = probabilities.mean(axis=0, dtype=np.float64)
    return result


def pooled_set(
    probabilities: Float[np.ndarray, "images known"], threshold: float
) -> Bool[np.ndarray, "known"]:
    """Which known classes are in the set of a source.

    Args:
        probabilities: Calibrated, of its images.
        threshold: ``conformal.set_threshold`` of single images.
    """
    inside = 1 - probabilities <= threshold
    result: np.ndarray = 2 * inside.sum(axis=0) >= len(inside)
    return result


def pooled_coverage(coverage: float) -> float:
    """Share of sources whose class is in the set, at least.

    Example:
        >>> round(pooled_coverage(0.9), 3)
        0.8
    """
    return max(2 * coverage - 1, 0.0)
