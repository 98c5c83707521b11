import numpy as np
import pytest

from owdfa.metrics.conventions import score_conventions
from owdfa.metrics.detection import auroc
from owdfa.metrics.intervals import MEASURES, GroupedCells, bootstrap, interval, measures


def case(rng, images=300, groups=20, shape=(5, 7)):
    truth = rng.integers(shape[0], size=images)
    predicted = np.where(rng.random(images) < 0.6, truth, rng.integers(shape[1], size=images))
    return rng.integers(groups, size=images), truth, predicted, shape


def test_measures_are_those_of_the_conventions():
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = rng.integers(9, size=(5, 7))
        found = score_conventions(table, 3)
        rules = (found.gcd, found.paper)
        wanted = [part.acc for rule in rules for part in (rule.all, rule.known, rule.novel)]
        wanted.append(table[3:, :3].sum() / table[3:].sum())
        assert measures(table, 3) == pytest.approx(wanted)
        assert len(wanted) == len(MEASURES)


def test_a_draw_is_the_images_of_the_groups_drawn():
    groups, truth, predicted, shape = case(np.random.default_rng(1))
    counted = GroupedCells.count(groups, truth, predicted, shape)
    stream = np.random.default_rng(5)
    for table in counted.drawn(10, seed=5):
        by_hand = np.zeros(shape, int)
        for drawn in stream.integers(counted.num_groups, size=counted.num_groups):
            for image in np.flatnonzero(groups == np.unique(groups)[drawn]):
                by_hand[truth[image], predicted[image]] += 1
        assert (table == by_hand).all()


def test_one_group_has_no_spread_and_copies_of_a_group_change_nothing_but_it():
    groups, truth, predicted, shape = case(np.random.default_rng(2))
    one = bootstrap(GroupedCells.count(np.zeros_like(groups), truth, predicted, shape), 3, 50)
    assert np.ptp(one, axis=0) == pytest.approx(0)
    few = interval(bootstrap(GroupedCells.count(groups, truth, predicted, shape), 3)[:, 0])
    many = [np.tile(each, 9) for each in (truth, predicted)]
    apart = np.concatenate([groups + 1000 * i for i in range(9)])
    more = interval(bootstrap(GroupedCells.count(apart, *many, shape), 3)[:, 0])
    assert (more.high - more.low) < 0.6 * (few.high - few.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Known accuracy is 0.7 in truth, and images of a group are right or wrong together."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(100):
        groups = np.repeat(np.arange(60), 5)
        right = (rng.random(60) < 0.7)[groups]
        truth = np.tile(np.arange(2), 150)
        counted = GroupedCells.count(groups, truth, np.where(right, truth, 2), (2, 3))
        found = interval(bootstrap(counted, 2, 200)[:, MEASURES.index("paper known")])
        covered += found.low <= 0.7 <= found.high
    assert 85 <= covered <= 99


def test_what_has_no_image_has_no_interval():
    assert interval(np.full(9, np.nan)) is None
    table = np.array([[3, 1]])
    assert np.isnan(measures(table, 1)[[2, 5, 6]]).all()


def test_auroc_counts_pairs():
    rng = np.random.default_rng(4)
    scores, positive = rng.integers(9, size=80).astype(float), rng.random(80) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert auroc(scores, np.ones(80, bool)) is None
