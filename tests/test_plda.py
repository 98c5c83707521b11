"""Types in a pile: found where they are, not where they are not, whatever the order."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from owdfa.plda.consensus import Agreement, Pile, with_types
from owdfa.plda.consensus import agreement as clusterings
from owdfa.plda.fit import TypesSettings, fit, number_of_types
from owdfa.plda.known_out import NEUTRAL
from owdfa.plda.mass import Scores, lower_bound, novel_share
from owdfa.plda.mixture import known_only
from owdfa.plda.model import Prior
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


def test_types_that_just_have_enough_images_are_found_in_parts_too():
    data = sample(3, per_type=32, dim=12, distance=11)
    settings = SETTINGS.model_copy(update={"min_images": 27})
    model = fit(data.features, data.labels, 4, settings)
    low, high = number_of_types(data.features, data.labels, model, settings, num_parts=3)
    assert low <= model.mixture.num_types == 8 <= high
    assert low > 4


def test_leave_known_out_finds_hidden_types_and_checks_ratios(fitted):
    found = fitted[1].calibration
    assert found.found.hidden > 0.85
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


def test_a_small_fit_gives_the_numbers_on_record(fitted):
    """Of this code, to be compared with after a change that is to change nothing."""
    data, model = fitted
    found = model.calibration
    assert model.mixture.num_types == 8
    assert found.together == 0.4
    numbers = [found.noise, found.temperature, found.factor, found.cllr, found.misled, *found.found]
    expected = [1.14904, 2.00909, 0.530884, 0.159037, 0.00613497, 0.975125, 0.98125, 0.00625]
    np.testing.assert_allclose(numbers, expected, rtol=1e-4)
    shares = [0.0824475, 0.0774197, 0.0762907, 0.0907185, 0.168655, 0.170425, 0.167004, 0.16704]
    np.testing.assert_allclose(model.mixture.shares, shares, rtol=1e-4)
    sure = model.log_posterior(data.features[:3]).max(axis=1)
    np.testing.assert_allclose(sure, [-0.00171692, -0.000151850, -0.0348118], rtol=1e-3)


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


def made_pile():
    """Two known types and two novel ones, far apart; the last is smaller than a type may be."""
    stream = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, 3], [40, 40, 30, 6])
    rows = 20 * np.eye(4)[truth] + stream.normal(size=(len(truth), 4))
    labels = np.where((truth < 2) & (np.arange(len(truth)) % 2 == 0), truth, -1)
    return Pile(rows, labels), truth


def test_the_share_of_clusterings_by_hand():
    """One image of three is with the known type, the others with each other; and half with it."""
    shares = np.array([[0.9, 0.0], [0.5, 0.1], [0.4, 0.2]])
    pairs = np.array([[0, 0, 0.9, 0.5, 0.4], [0, 0, 0, 0.1, 0.2]])
    among = np.array([[0.9, 0.0, 1, 0.5, 0.45], [0.5, 0.1, 0.5, 1, 0.8], [0.4, 0.2, 0.45, 0.8, 1]])
    together = np.vstack([pairs, among])
    np.fill_diagonal(together, 1)
    tree = linkage(squareform(1 - together), "average")
    agreed = Agreement(shares, tree)
    assert agreed.owners(0.6, 1).tolist() == [0, 2, 2]
    assert agreed.owners(0.6, 3).tolist() == [0, -1, -1]  # too few
    # The pair is together with type 0 and its image in (0.5 + 0.4 + 0.5 + 0.45) / 4 on average.
    assert agreed.owners(0.47, 1).tolist() == [0, 2, 2]
    assert agreed.owners(0.46, 1).tolist() == [0, 0, 0]
    assert agreed.owners(0.0, 1).tolist() == [0, 0, 0]  # the greater share decides between knowns


def test_clusterings_agree_on_types_that_are_far_apart():
    pile, truth = made_pile()
    agreed = clusterings(pile, 2, 100, np.random.default_rng(0))
    free = truth[pile.labels < 0]
    assert (agreed.known[free == 0, 0] > 0.35).all()
    np.testing.assert_array_equal(agreed.known[free == 1, 0], 0)
    owner = agreed.owners(0.35, 8)
    assert owner[free < 3].tolist() == free[free < 3].tolist()
    assert set(owner[free == 3].tolist()) <= {-1}


def test_a_known_type_without_labelled_images_takes_none():
    pile, truth = made_pile()
    labels = np.where(pile.labels == 1, -1, pile.labels)
    agreed = clusterings(Pile(pile.rows, labels), 2, 100, np.random.default_rng(0))
    owner = agreed.owners(0.35, 8)
    assert not (owner == 1).any()
    assert len(set(owner[truth[labels < 0] == 1].tolist())) == 1


def test_a_found_type_that_keeps_too_few_images_is_dissolved():
    pile, truth = made_pile()
    known = known_only(pile.rows, pile.labels, 2, Prior(np.full(4, 100.0)))
    free = truth[pile.labels < 0]
    assert with_types(known, pile, np.where(free == 2, 2, -1), 8).num_types == 3
    few = np.where(free == 3, 2, -1)
    assert with_types(known, pile, few, 7).num_types <= 3
    assert with_types(known, pile, few, 37).num_types == 2


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
