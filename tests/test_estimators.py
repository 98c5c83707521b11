"""Estimators of the number of classes, on mixtures whose number is known."""

import numpy as np
import pytest

from command_line import cli
from owdfa import catalog
from owdfa.errors import UserError
from owdfa.estimators.base import (
    NOISE,
    EstimateSettings,
    FoundClasses,
    estimate,
    labelled_accuracy,
    search,
)
from owdfa.methods.cal import CALSettings
from owdfa.methods.supervised import SupervisedSettings
from owdfa.records.estimate import Curve

NAMES = catalog.names("estimators")
QUICK = EstimateSettings(num_parts=2, max_images=400, max_classes=25)


def mixture(num_known=4, num_novel=3, per_class=60, spread=0.35, dim=24):
    """Embeddings around one direction a class; half of the known classes' images are labelled."""
    stream = np.random.default_rng(5)
    num = num_known + num_novel
    centres = stream.normal(size=(num, dim)) + 1
    truth = np.repeat(np.arange(num), per_class)
    rows = centres[truth] + spread * stream.normal(size=(len(truth), dim))
    labelled = (truth < num_known) & (np.arange(len(truth)) % 2 == 0)
    return rows.astype(np.float32), np.where(labelled, truth, -1)


def found_classes(rows):
    """What a run says that gives each image of ``mixture`` its class."""
    return FoundClasses(np.arange(len(rows)) // (len(rows) // 7), 4, 7, CALSettings())


@pytest.mark.parametrize("name", NAMES)
def test_known_mixture(name):
    rows, labels = mixture()
    found = estimate(name, rows, labels, QUICK, found_classes(rows))
    assert found.num_classes == 7
    assert found.interval[0] <= found.interval[1]
    assert all(4 <= number <= 25 for number in found.parts)
    assert len(found.parts) == 2
    assert found.num_images <= 400
    curve = found.curve
    assert len(curve.candidates) == len(curve.scores) == len(curve.num_classes)
    assert list(curve.candidates) == sorted(curve.candidates)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_estimate(name):
    rows, labels = mixture(spread=1.2)
    given = rows, labels, QUICK, found_classes(rows)
    assert estimate(name, *given) == estimate(name, *given)


@pytest.mark.parametrize("name", NAMES)
def test_order_and_names_of_known_classes_say_nothing(name):
    rows, labels = mixture()
    other = np.where(labels >= 0, 50 - 3 * labels, -1)
    settings = EstimateSettings(num_parts=0)
    found = found_classes(rows)
    one, renamed = (estimate(name, rows, each, settings, found) for each in (labels, other))
    assert one.num_classes == renamed.num_classes
    assert one.interval is None


@pytest.mark.parametrize("name", NAMES)
def test_identical_images_are_survived(name):
    rows, labels = mixture(per_class=12)
    settings, given = EstimateSettings(num_parts=1), found_classes(rows)
    found = estimate(name, np.ones_like(rows), labels, settings, given)
    assert 4 <= found.num_classes <= 40


@pytest.mark.parametrize("name", NAMES)
def test_what_allows_no_estimate_is_said_in_one_line(name):
    rows, labels = mixture()
    cases = [
        (rows[:4], np.arange(4), {}, "4 images are too few for 4 known classes"),
        (rows, np.full(len(rows), -1), {}, "needs labelled images of two classes or more"),
        (rows, np.where(labels > 0, -1, labels), {}, "two classes or more, there are 1"),
        (rows, labels, {"max_classes": 3}, "3 classes at most are fewer than the 4 known ones"),
        (rows * np.nan, labels, {}, "an embedding is not finite"),
    ]
    for some, their, settings, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            estimate(name, some, their, EstimateSettings(**settings))
        assert "\n" not in str(caught.value)
        assert f"estimator {name}: " in str(caught.value)


def test_estimator_with_a_typo_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'silhouette'"):
        estimate("silhouete", *mixture())


def test_dpp_counts_the_prototypes_that_its_rule_keeps():
    rows, labels = mixture(num_known=2, num_novel=2, per_class=50)
    # Novel prototypes have 60, 30, 8, 1 and 1 images: 98 % with the third; the rule's tail is
    # (8, 1, 1) with mean 10/3 and mean step 3.5, so that the fourth is kept by its step alone.
    predicted = np.repeat([0, 1, 4, 2, 3, 5, 6], [50, 50, 60, 30, 8, 1, 1])
    settings = EstimateSettings(num_parts=0)
    given = FoundClasses(predicted, 2, 7, CALSettings())
    found = estimate("dpp", rows, labels, settings, given)
    assert found.num_classes == 2 + 4
    assert found.curve.candidates == (0, 1, 2, 3, 4, 5)
    assert found.curve.scores == pytest.approx((0, 0.6, 0.9, 0.98, 0.99, 1))
    all_of_them = given._replace(method=CALSettings(coverage=1.0))
    assert estimate("dpp", rows, labels, settings, all_of_them).num_classes == 2 + 5
    no_novel = given._replace(predicted=np.zeros(200, np.int64), num_active=2)
    assert estimate("dpp", rows, labels, settings, no_novel).num_classes == 2


def test_dpp_needs_a_run_that_pruned():
    rows, labels = mixture()
    other = found_classes(rows)._replace(method=SupervisedSettings())
    for found in (None, other):
        with pytest.raises(UserError, match=r"estimator dpp: .*--method cal --classes auto"):
            estimate("dpp", rows, labels, QUICK, found)


def test_an_estimator_s_file_must_define_curve():
    with pytest.raises(UserError, match=r"estimator owdfa.layers: .*must define a function curve"):
        estimate("owdfa.layers", *mixture())


def test_labelled_accuracy_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    clusters = np.array([5, 5, 1, 1, 1, NOISE, 0, 5])
    # Class 0 is cluster 5 (two images), class 1 is cluster 1 (two), class 2 is noise: 4 of 6.
    assert labelled_accuracy(labels, clusters) == pytest.approx(4 / 6)
    assert labelled_accuracy(labels, np.full(8, NOISE)) == 0
    # One cluster serves one class.
    assert labelled_accuracy(labels, np.zeros(8, np.int64)) == pytest.approx(3 / 6)


@pytest.mark.parametrize("best", [4, 5, 17, 33, 60])
def test_search_finds_the_top_of_a_hill(best):
    tried = search(lambda number: -abs(number - best), 4, 60)
    assert max(tried, key=tried.get) == best
    assert list(tried) == sorted(tried)
    assert len(tried) < 40


def test_search_between_equal_ends():
    assert search(float, 3, 3) == {3: 3.0}


def test_best_of_a_curve_is_the_last_of_equals():
    assert Curve("classes", "score", (2, 4, 8, 9), (0.5, 0.9, 0.9, 0.1), (2, 4, 8, 9)).best == 8


def test_estimators_are_listed():
    ended = cli("estimators")
    assert ended.status == 0
    assert all(f"\n{name} " in f"\n{ended.stdout}" for name in NAMES)
