import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owdfa.metrics.calibration import calibration


def ece_by_hand(confidence, correct, num_bins):
    """One image and one bin after the other."""
    total = 0.0
    for i in range(num_bins):
        low, high = i / num_bins, (i + 1) / num_bins
        inside = [j for j, c in enumerate(confidence) if low < c <= high or (i == 0 and c == 0)]
        if inside:
            accuracy = sum(bool(correct[j]) for j in inside) / len(inside)
            mean = sum(confidence[j] for j in inside) / len(inside)
            total += len(inside) * abs(accuracy - mean)
    return total / len(confidence)


images = st.lists(st.tuples(st.integers(0, 1024), st.booleans()), min_size=1, max_size=60)


@given(images, st.sampled_from([1, 2, 8, 16]))
def test_ece_is_the_weighted_gap_over_bins(pairs, num_bins):
    confidence = np.array([c / 1024 for c, _ in pairs])  # sums, products and edges are exact
    correct = np.array([right for _, right in pairs])
    found = calibration(confidence, correct, num_bins)
    assert found.ece == pytest.approx(ece_by_hand(confidence, correct, num_bins), abs=1e-12)
    assert found.accuracy == pytest.approx(correct.mean())
    assert found.mean_confidence == pytest.approx(confidence.mean())
    assert sum(each.count for each in found.bins) == len(pairs)
    assert all(each.count > 0 for each in found.bins)


@given(images)
def test_one_bin_compares_the_means(pairs):
    confidence = np.array([c / 1024 for c, _ in pairs], dtype=np.float32)
    correct = np.array([right for _, right in pairs])
    found = calibration(confidence, correct, num_bins=1)
    assert found.ece == pytest.approx(abs(confidence.mean() - correct.mean()), abs=1e-6)


def test_confident_and_right_is_calibrated_and_confident_and_wrong_is_not():
    assert calibration(np.ones(5), np.ones(5, dtype=bool)).ece == 0
    assert calibration(np.ones(5), np.zeros(5, dtype=bool)).ece == 1


def test_no_image():
    found = calibration(np.zeros(0), np.zeros(0, dtype=bool))
    assert (found.mean_confidence, found.accuracy, found.ece, found.bins) == (0, 0, 0, ())


def test_the_edges_of_bins():
    found = calibration(np.array([0.0, 0.5, 0.75, 1.0]), np.zeros(4, dtype=bool), num_bins=2)
    assert [(each.low, each.high, each.count) for each in found.bins] == [(0, 0.5, 2), (0.5, 1, 2)]
