"""Types in a pile: found where they are, not where they are not, whatever the order."""

import re
from pathlib import Path

import numpy as np
import pytest

from owdfa.plda.evidence import pair_gain, split_gain
from owdfa.plda.fit import TypesSettings, fit, number_of_types
from owdfa.plda.known_out import NEUTRAL
from owdfa.plda.mass import Scores, lower_bound, novel_share
from owdfa.plda.model import Prior, posterior
from owdfa.plda.space import SpaceLearner
from type_samples import sample

ROOT = Path(__file__).parents[1]
SETTINGS = TypesSettings(dim=16)


def agreement(one, other):
    """Share of images that two partitions put together alike, by the best match."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    return table.max(axis=1).sum() / len(one)


def test_well_separated_types_are_found_exactly_and_known_ones_stay():
    data = sample(distance=11)
    model = fit(data.features, data.labels, 4, SETTINGS)
    assert model.mixture.num_types == 8
    found = model.assign(data.features)
    assert (found[data.truth < 4] == data.truth[data.truth < 4]).mean() > 0.99
    assert agreement(data.truth, found) > 0.99
    assert (found[data.labels >= 0] == data.labels[data.labels >= 0]).mean() > 0.99


@pytest.mark.slow
def test_nothing_is_born_where_there_are_only_known_types():
    """In 95 % of draws; of 20, so many or more have births with a probability of 0.02 at most."""
    births = 0
    for seed in range(20):
        data = sample(seed, num_novel=0, per_type=60, dim=12, distance=6)
        births += fit(data.features, data.labels, 4, SETTINGS, seed=seed).mixture.num_types > 4
    assert births <= 3


def test_a_draw_without_novel_types_has_no_birth_and_a_bound_near_zero():
    data = sample(1, num_novel=0, per_type=60, dim=12, distance=7)
    assert fit(data.features, data.labels, 4, SETTINGS).mixture.num_types == 4
    assert novel_share(data.features, data.labels, 4, SETTINGS) < 0.05


@pytest.fixture(scope="module")
def fitted():
    data = sample(2, per_type=80, dim=12, distance=9)
    return data, fit(data.features, data.labels, 4, SETTINGS, seed=3)


def test_the_order_of_images_does_not_matter(fitted):
    data, model = fitted
    order = np.random.default_rng(0).permutation(len(data.labels))
    other = fit(data.features[order], data.labels[order], 4, SETTINGS, seed=3)
    found = other.log_posterior(data.features)
    np.testing.assert_allclose(found, model.log_posterior(data.features), rtol=1e-6, atol=1e-6)


def test_a_rotation_of_the_features_does_not_matter(fitted):
    data, model = fitted
    stream = np.random.default_rng(1)
    turn = np.linalg.qr(stream.normal(size=(12, 12)))[0]
    other = fit(data.features @ turn + 3, data.labels, 4, SETTINGS, seed=3)
    assert other.mixture.num_types == model.mixture.num_types
    np.testing.assert_array_equal(
        other.assign(data.features @ turn + 3), model.assign(data.features)
    )


def test_the_seed_decides_all_that_is_random(fitted):
    data, model = fitted
    again = fit(data.features, data.labels, 4, SETTINGS, seed=3)
    np.testing.assert_array_equal(again.mixture.types.means, model.mixture.types.means)


def test_log_probabilities_are_linear_and_square_scores(fitted):
    data, model = fitted
    rows = model.space(data.features)
    linear, square, constant = model.scores()
    scores = rows @ linear.T + rows**2 @ square.T + constant
    scores -= np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1))[:, None]
    expected = model.log_posterior(data.features)
    np.testing.assert_allclose(
        scores - scores.max(axis=1, keepdims=True),
        expected - expected.max(axis=1, keepdims=True),
        atol=1e-9,
    )
    np.testing.assert_allclose(np.exp(expected).sum(axis=1), 1)


def test_the_number_of_types_has_an_interval(fitted):
    data, model = fitted
    low, high = number_of_types(data.features, data.labels, model, SETTINGS, num_parts=3)
    assert low <= model.mixture.num_types <= high
    assert low >= 4


def test_leave_known_out_finds_hidden_types_and_checks_ratios(fitted):
    found = fitted[1].calibration
    assert found.found.hidden > 0.85
    assert set(found.found.num_true) == {4}
    assert found.misled <= 0.05
    assert 0 < found.cllr < 0.5


def test_the_example_of_a_group_in_the_documents_runs(fitted):
    text = (ROOT / "docs" / "methods" / "plda.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    data, _ = fitted
    group = data.features[data.truth == 2][:5]
    names = {"features": data.features, "labels": data.labels, "group": group}
    exec(code, names)
    assert names["ratios"].argmax() == 2
    assert names["ratios"][2] > 1


def test_hidden_labels_of_novel_types_decide_nothing(fitted):
    """What is chosen follows from labelled images; others are seen as features alone."""
    data, model = fitted
    few = fit(data.features, data.labels, 4, SETTINGS, num_types=6, seed=3)
    assert few.mixture.num_types == 6
    assert few.calibration == model.calibration


@pytest.mark.parametrize("num_labelled", [0, 1, 2])
def test_any_labels_can_be_fitted(num_labelled):
    data = sample(4, num_known=2, num_novel=0, per_type=15, dim=6)
    labels = np.full(30, -1)
    labels[np.flatnonzero(data.truth == 0)[:num_labelled]] = 0
    model = fit(data.features, labels, 2, SETTINGS)
    assert model.calibration == NEUTRAL
    assert np.isfinite(model.log_posterior(data.features)).all()


def test_within_a_type_images_vary_alike_in_every_direction():
    data = sample(5, num_novel=0, per_type=400, dim=10, labelled=1)
    space = SpaceLearner(data.features, data.labels, dim=10, unit_length=False).fit()
    rows = space(data.features)
    centred = np.concatenate(
        [rows[data.truth == k] - rows[data.truth == k].mean(0) for k in range(4)]
    )
    np.testing.assert_allclose(np.cov(centred.T), np.eye(10), atol=0.1)
    assert (np.diff(space.between) <= 0).all()


def test_two_clouds_are_two_types_and_one_is_one():
    stream = np.random.default_rng(0)
    prior = Prior(np.full(8, 2.0))
    one = stream.normal(size=(200, 8))
    two = one + 4 * np.eye(8)[0] * (np.arange(200) % 2)[:, None]
    assert split_gain(one, prior, stream).total < 0
    assert split_gain(two, prior, stream).total > 20
    known = posterior(np.zeros((1, 8)), np.array([100]), prior)
    assert split_gain(one, prior, stream, known).total < 3
    assert split_gain(two, prior, stream, known).total > 20


def test_pieces_of_one_cloud_are_not_two_types():
    """They differ in their means, since they were cut."""
    stream = np.random.default_rng(1)
    rows = stream.normal(size=(400, 8))
    prior = Prior(np.full(8, 2.0))
    assert pair_gain(rows[rows[:, 0] > 0], rows[rows[:, 0] <= 0], prior, stream).total < 3
    assert pair_gain(rows, rows[:80] + 4, prior, stream).total > 20


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_the_bound_on_the_share_of_novel_types_holds(share):
    """In 95 % of draws; here novel scores overlap with known ones, and types are not as common."""
    stream = np.random.default_rng(7)
    held = 0
    for _ in range(100):
        known = np.concatenate([stream.normal(2, 1, 150), stream.normal(3, 1, 150)])
        weights = np.repeat([0.2, 0.8], 150)  # the second type is four times as common in the pile
        num_known = int(1000 * (1 - share))
        second = int(0.8 * num_known)
        parts = [
            stream.normal(2, 1, num_known - second),
            stream.normal(3, 1, second),
            stream.normal(0, 1, 1000 - num_known),
        ]
        held += lower_bound(Scores(known, weights), np.concatenate(parts)) <= share
    assert held >= 95


def test_the_bound_is_of_use():
    stream = np.random.default_rng(0)
    known = Scores(stream.normal(4, 1, 400), np.ones(400))
    pile = np.concatenate([stream.normal(4, 1, 500), stream.normal(-4, 1, 500)])
    assert 0.35 < lower_bound(known, pile) <= 0.5
    assert lower_bound(Scores(np.zeros(0), np.zeros(0)), pile) == 0.0
