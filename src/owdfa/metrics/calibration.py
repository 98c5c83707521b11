"""Does a confidence of 0.8 mean right eight times in ten?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

NUM_BINS = 15
_BLOCK = 1 << 14  # images at once: what is computed of them stays in the processor's cache


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high]; the first bin holds 0 too."""

    low: float
    high: float
    count: int
    confidence: float  # mean over the bin's images
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Confidence set against accuracy.

    Attributes:
        mean_confidence: Over all images; one minus this is the releases' mean uncertainty.
        accuracy: Share of images that are right.
        ece: Expected calibration error (Naeini et al., 2015; Guo et al., 2017): the mean over bins
            of |accuracy - confidence|, weighted by the number of images.
        bins: The bins that hold an image.
    """

    mean_confidence: float
    accuracy: float
    ece: float
    bins: tuple[Bin, ...]


def calibration(
    confidence: Float[np.ndarray, "images"],
    correct: Bool[np.ndarray, "images"],
    num_bins: int = NUM_BINS,
) -> Calibration:
    """Compare confidence with accuracy in bins of equal width; all zero when there is no image.

    Args:
        confidence: In [0, 1].
        correct: Which images are right.
        num_bins: Number of bins over [0, 1].

    Example:
        >>> calibration(np.array([1.0, 1.0, 0.5, 0.5]), np.array([True, True, True, False])).ece
        0.0
    """
    sums = np.zeros((2, 2, num_bins + 1))  # confidence, images; by wrong or right; by bin from 1
    for first in range(0, len(confidence), _BLOCK):
        sure = confidence[first : first + _BLOCK].astype(np.float64)
        place = np.ceil(sure * num_bins).astype(np.int64)
        place += correct[first : first + _BLOCK] * np.int64(num_bins + 1)
        for each, weights in zip(sums, (sure, None), strict=True):
            each += np.bincount(place, weights, each.size).reshape(each.shape)
    sums[..., 1] += sums[..., 0]  # a confidence of 0
    total_sure, (wrong, right) = sums[0, :, 1:].sum(axis=0), sums[1, :, 1:]
    count = (wrong + right).astype(np.int64)
    images = np.maximum(count, 1)
    means = total_sure / images, right / images
    bins = tuple(
        Bin(i / num_bins, (i + 1) / num_bins, int(count[i]), *(float(mean[i]) for mean in means))
        for i in np.flatnonzero(count).tolist()
    )
    total = max(len(confidence), 1)
    gap = float((count * np.abs(means[1] - means[0])).sum())
    return Calibration(
        float(total_sure.sum()) / total, float(right.sum()) / total, gap / total, bins
    )
