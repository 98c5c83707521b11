"""Does a confidence of 0.8 mean right eight times in ten?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

NUM_BINS = 15


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
    confidence = confidence.astype(np.float64)
    place = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    images = np.maximum(count, 1)
    sure = np.bincount(place, confidence, num_bins) / images
    right = np.bincount(place, correct, num_bins) / images
    bins = tuple(
        Bin(i / num_bins, (i + 1) / num_bins, int(count[i]), float(sure[i]), float(right[i]))
        for i in np.flatnonzero(count).tolist()
    )
    total = max(len(confidence), 1)
    gap = float((count * np.abs(right - sure)).sum())
    return Calibration(
        float(confidence.sum()) / total, float(correct.sum()) / total, gap / total, bins
    )
