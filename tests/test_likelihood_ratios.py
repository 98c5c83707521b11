"""What ratios against "a type that nobody has seen" say of an image."""

import numpy as np
import pytest

from owdfa.metrics.likelihood_ratios import evidence


def test_evidence_is_against_the_best_other_explanation_and_that_may_be_nothing_seen():
    # Known, known, found; against a type that nobody has seen.
    ratios = np.array([[3.0, 1.0, -2.0], [-1.0, -4.0, -3.0], [0.5, 2.0, 6.0]])
    found = evidence(ratios, np.array([0, 0, 1]), 2)
    assert found.own.tolist() == [2, -1, -4]
    assert found.known.tolist() == [2, -1, -4]
    assert found.known_index.tolist() == [0, 0, 1]
    assert found.unseen.tolist() == [-3, 1, -6]


def test_with_one_type_the_other_explanation_is_one_that_nobody_has_seen():
    found = evidence(np.array([[1.5], [-2.0]]), np.array([0, 0]), 1)
    assert found.own.tolist() == pytest.approx([1.5, -2])
    assert found.unseen.tolist() == pytest.approx([-1.5, 2])
