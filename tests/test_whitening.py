"""Principal components and whitening against other ways to compute them."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from owdfa.records.training import UNLABELLED
from owdfa.whitening import (
    principal_components,
    unit_length,
    whitened_components,
    whitening,
    within_class_covariance,
)


def drawn(num=60, dim=9, seed=0):
    """Rows whose columns differ in mean, scale and correlation."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(num, dim)) @ draw.normal(size=(dim, dim)) + draw.normal(size=dim)


@pytest.mark.parametrize("shape", [(60, 9), (9, 60)], ids=["tall", "wide"])
def test_principal_components_are_those_of_scikit_learn(shape):
    rows = drawn(*shape)
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    expected = PCA(5, svd_solver="full").fit_transform(standard)
    found = principal_components(rows, 5)(rows)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-3, atol=1e-4)


def test_a_constant_feature_and_components_that_do_not_exist_count_for_nothing():
    rows = drawn(4)
    rows[:, 3] = 7
    found = principal_components(rows, 12)
    assert found.matrix.shape == (9, 12)
    assert not found.matrix[3].any()
    assert not found.matrix[:, 3:].any()  # four rows span three dimensions
    assert np.isfinite(found(rows)).all()


def test_the_covariance_within_classes_is_that_of_ledoit_and_wolf():
    rows, labels = drawn(), np.arange(60) % 4 - 1  # a quarter is unlabelled
    centred = np.concatenate([rows[labels == c] - rows[labels == c].mean(axis=0) for c in range(3)])
    expected, _ = ledoit_wolf(centred, assume_centered=True)
    np.testing.assert_allclose(within_class_covariance(rows, labels), expected, rtol=1e-9)


def test_whitening_turns_a_covariance_into_the_identity():
    covariance = np.cov(drawn().T)
    matrix = whitening(covariance)
    np.testing.assert_allclose(matrix @ covariance @ matrix, np.eye(9), atol=1e-8)


def test_what_differs_within_known_classes_counts_less_afterwards():
    """Two known and two novel types differ in a small direction; content in a large one."""
    draw = np.random.default_rng(1)
    truth = np.repeat(np.arange(4), 50)
    content = draw.normal(size=200)
    rows = 0.1 * draw.normal(size=(200, 6))
    rows[:, 0] += 10 * content
    rows[:, 1] += truth
    labels = np.where(truth < 2, truth, UNLABELLED)
    first = principal_components(rows, 6)
    components = first(rows)
    found = unit_length(components @ whitened_components(components, labels, 1))[:, 0]
    assert abs(np.corrcoef(found, truth)[0, 1]) > 0.8
    assert abs(np.corrcoef(found, content)[0, 1]) < 0.2


def test_without_two_images_of_a_class_nothing_is_whitened():
    rows = drawn()
    components = principal_components(rows, 9)(rows)
    made = whitened_components(components, np.full(60, UNLABELLED), 4)
    np.testing.assert_allclose(made.T @ made, np.eye(4), atol=1e-5)
