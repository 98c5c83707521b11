"""Temperature, thresholds and sets: what they promise holds on groups that chose nothing."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from owdfa.calibration.conformal import set_threshold
from owdfa.calibration.fit import CalibrateOptions, HeldOut, Names, calibrate
from owdfa.calibration.limits import groups_needed, num_allowed, tolerance_limit
from owdfa.calibration.statements import (
    Decision,
    false_scores,
    membership,
    scaled,
    statements_of,
    true_scores,
)
from owdfa.calibration.temperature import cross_fitted, fit_temperature
from owdfa.records.provenance import Provenance

CLASSES = ("real", "swap-a", "swap-b", "edit", "novel-01", "novel-02")
FAMILIES = {"real": "real", "swap-a": "swap", "swap-b": "swap", "edit": "edit"}
NAMES = Names(CLASSES, 4, ("real",), FAMILIES)
PROVENANCE = Provenance(
    method="cal", backbone="tiny/x", seed=0, selection="last", split_digest="s",
    weights_digest="w", precision="32-true", commit="c", environment={},
)  # fmt: skip


def draw(rng, num_groups, *, per_group=3, sharpness=1.0):
    """Probabilities, labels and groups: calibrated at temperature ``sharpness``."""
    groups = np.repeat(np.arange(num_groups), per_group)
    centres = rng.normal(size=(num_groups, 4)) * 2  # images of a group are alike
    logits = centres[groups] + rng.normal(size=(len(groups), 4)) + [1, 0, 0, 0]
    logits = np.concatenate([logits, np.full((len(groups), 2), -7.0)], axis=1)
    truth = scaled(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1.0)
    known = truth[:, :4] / truth[:, :4].sum(axis=1, keepdims=True)
    labels = (known.cumsum(axis=1) < rng.random((len(groups), 1))).sum(axis=1)
    return HeldOut(scaled(truth, 1 / sharpness).astype(np.float32), labels, groups)


def made_by(held_out, **options):
    return calibrate(held_out, NAMES, CalibrateOptions(**options), PROVENANCE)


def test_a_temperature_undoes_the_one_that_made_probabilities_too_sure():
    for sharpness in (0.5, 1.0, 3.0):
        held_out = draw(np.random.default_rng(0), 3000, per_group=1, sharpness=sharpness)
        found = fit_temperature(held_out.probabilities, held_out.labels, held_out.groups)
        assert found == pytest.approx(sharpness, rel=0.1)


def test_few_images_that_are_all_right_do_not_make_a_probability_certain():
    sure = np.full((20, 4), 0.01, np.float32)
    labels, groups = np.arange(20) % 4, np.arange(20)
    sure[groups, labels] = 0.97
    found = fit_temperature(sure, labels, groups)
    right = scaled(sure, found)[groups, labels]
    assert right == pytest.approx(1 - 1 / 22, rel=1e-3)  # Platt's target for 20 of 20


def test_scaling_keeps_the_order_of_the_classes_and_their_sum():
    p = draw(np.random.default_rng(1), 20).probabilities
    q = scaled(p, 2.5)
    assert np.allclose(q.sum(axis=1), 1)
    assert (np.argsort(p, axis=1) == np.argsort(q, axis=1)).all()
    by_hand = p.astype(float) ** (1 / 2.5)
    assert np.allclose(q, by_hand / by_hand.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_probability_of_zero_stays_a_number():
    q = scaled(np.array([[1.0, 0.0]], np.float32), 5.0)
    assert np.isfinite(q).all()
    assert q[0, 0] > q[0, 1] > 0


def test_an_image_is_scaled_by_the_temperature_of_other_groups():
    held_out = draw(np.random.default_rng(2), 10, sharpness=2.0)
    before = cross_fitted(held_out.probabilities, held_out.labels, held_out.groups)
    labels = held_out.labels.copy()
    labels[held_out.groups == 4] = (labels[held_out.groups == 4] + 1) % 4
    after = cross_fitted(held_out.probabilities, labels, held_out.groups)
    same = np.isclose(before, after).all(axis=1)
    assert same[held_out.groups == 4].all()
    assert not same.all()


def test_calibration_makes_confidence_mean_what_it_says_on_groups_that_were_not_used():
    made = made_by(draw(np.random.default_rng(3), 1500, sharpness=3.0))
    assert made.ece_before > 0.08
    assert made.ece < 0.03
    assert made.temperature == pytest.approx(3, rel=0.1)


def test_the_number_of_groups_that_may_be_wronged_is_that_of_the_binomial():
    for budget, confidence in ((0.01, 0.95), (0.05, 0.9), (0.2, 0.99)):
        for n in (1, 20, 150, 700):
            k = num_allowed(n, budget, confidence)
            assert k == -1 or binom.cdf(k, n, budget) <= 1 - confidence
            assert binom.cdf(k + 1, n, budget) > 1 - confidence
        needed = groups_needed(budget, confidence)
        assert (
            num_allowed(needed, budget, confidence)
            >= 0
            > num_allowed(needed - 1, budget, confidence)
        )


def test_the_share_above_a_limit_is_within_the_budget_as_often_as_stated():
    """Of uniform scores the share above the threshold t is 1 - t, and its law is a beta one."""
    rng, n, budget = np.random.default_rng(4), 400, 0.02
    shares = []
    for _ in range(2000):
        found = tolerance_limit(rng.random(n), np.arange(n), budget, 0.95)
        shares.append(1 - found.threshold)
    allowed = num_allowed(n, budget, 0.95)
    expected = beta.cdf(budget, allowed + 1, n - allowed)
    assert expected >= 0.95
    assert np.mean(np.array(shares) <= budget) == pytest.approx(expected, abs=0.012)


def test_a_limit_counts_groups_by_the_image_that_wrongs_them_most():
    scores = np.array([0.1, 0.9, 0.2, 0.3, 0.8])
    found = tolerance_limit(scores, np.array([7, 7, 7, 2, 5]), 0.5, 0.1)
    assert found.num_groups == 3
    peaks = sorted([0.9, 0.3, 0.8], reverse=True)
    assert found.threshold == peaks[num_allowed(3, 0.5, 0.1)]


def test_too_few_groups_state_the_larger_share_that_they_support():
    found = tolerance_limit(np.full(20, 0.6), np.arange(20), 0.01, 0.95)
    assert found.threshold == 0.6
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 20))
    none = tolerance_limit(np.empty(0), np.empty(0, np.int64), 0.01, 0.95)
    assert (none.threshold, none.bound) == (1.0, 1.0)


def test_sets_hold_the_class_of_a_new_group_as_often_as_stated():
    """By hand: of K groups one is new, and its images count one over their number each."""
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(400):
        sizes = rng.integers(1, 9, 40)
        groups = np.repeat(np.arange(40), sizes)
        scores = rng.normal(size=40)[groups] + 0.3 * rng.normal(size=len(groups))
        bound = set_threshold(scores[groups > 0], groups[groups > 0], 0.8)
        hits.append((scores[groups == 0] <= bound).mean())
    assert 0.78 < np.mean(hits) < 0.86


def test_a_set_threshold_is_the_quantile_of_images_alone_where_each_is_a_group():
    scores = np.random.default_rng(6).random(99)
    assert set_threshold(scores, np.arange(99), 0.9) == np.sort(scores)[89]
    assert set_threshold(scores[:8], np.arange(8), 0.9) == float("inf")


def test_statements_are_sets_of_classes():
    found = statements_of(CLASSES, 4, ("real",), FAMILIES)
    assert [(each.kind, each.name) for each in found] == [
        ("class", "swap-a"), ("class", "swap-b"), ("class", "edit"),
        ("novel", "novel-01"), ("novel", "novel-02"), ("novel", None),
        ("family", "edit"), ("family", "swap"), ("forged", None), ("real", None),
    ]  # fmt: skip
    by_name = {(each.kind, each.name): each.classes for each in found}
    assert by_name["family", "swap"] == (1, 2)
    assert by_name["forged", None] == (1, 2, 3, 4, 5)
    without = statements_of(CLASSES[:4], 4, (), {})
    assert {each.kind for each in without} == {"class"}


def test_scores_of_true_and_false_statements_agree_with_loops():
    held_out = draw(np.random.default_rng(7), 8)
    statements = statements_of(CLASSES, 4, ("real",), FAMILIES)
    right = true_scores(held_out.probabilities, held_out.labels, statements)
    wrong = false_scores(held_out.probabilities, held_out.labels, statements)
    for i, (row, label) in enumerate(zip(held_out.probabilities, held_out.labels, strict=True)):
        sums = [(label in each.classes, sum(row[list(each.classes)])) for each in statements]
        assert right[i] == pytest.approx(max(value for is_true, value in sums if is_true))
        assert wrong[i] == pytest.approx(max(value for is_true, value in sums if not is_true))
    assert membership(statements, 6).sum() == sum(len(each.classes) for each in statements)


def test_accusing_needs_the_statement_that_the_image_is_not_real():
    made = made_by(draw(np.random.default_rng(8), 400), budget=0.05)
    decision = Decision(made, CLASSES)
    forged = made.find("forged").threshold
    share = (1 + forged) / 2
    real = 1 - share
    assert _labels(decision, [real, share, 0, 0, 0, 0]) == [
        ("class", "swap-a"), ("family", "swap"), ("forged", None)
    ]  # fmt: skip
    assert made.find("class").threshold < forged
    below = (made.find("class").threshold + forged) / 2
    assert _labels(decision, [1 - below, below, 0, 0, 0, 0]) == []


def test_the_family_is_named_where_the_class_is_unsure():
    decision = Decision(made_by(draw(np.random.default_rng(9), 2000), budget=0.05), CLASSES)
    assert _labels(decision, [0.0, 0.5, 0.5, 0, 0, 0]) == [("family", "swap"), ("forged", None)]
    assert _labels(decision, [0.0, 0.34, 0, 0.33, 0.33, 0]) == [("forged", None)]


def test_no_real_class_no_word_of_real():
    names = Names(CLASSES, 4, (), {})
    made = calibrate(draw(np.random.default_rng(10), 500), names, CalibrateOptions(), PROVENANCE)
    assert made.find("real") is None
    assert made.find("forged") is None
    assert made.find("class").num_groups > 400


def _labels(decision, row):
    scores = np.array(row, float) @ decision._table
    return [decision.statements[each][:2] for each in decision.passing(scores)]


@pytest.mark.parametrize(("budget", "num_groups"), [(0.01, 1200), (0.05, 300)])
def test_the_budget_of_false_attribution_holds_in_nine_of_ten_splits(budget, num_groups):
    """50 random splits by group: what was chosen on one part is measured on the other."""
    rng = np.random.default_rng(11)
    wronged_real, called_real, misnamed = [], [], []
    everything = draw(rng, 25 * num_groups, per_group=2, sharpness=2.0)
    for _ in range(50):
        chosen = rng.permutation(25 * num_groups)[:num_groups]
        inside = np.isin(everything.groups, chosen)
        made = made_by(_rows(everything, inside), budget=budget)
        decision, rest = Decision(made, CLASSES), _rows(everything, ~inside)
        said = _said(decision, decision.scores(rest.probabilities))
        real = rest.labels == 0
        wronged_real.append(said["accused"][real].mean())
        called_real.append(said["real"][~real].mean())
        named = said["class"][np.arange(len(real)), :]
        wrong = named.any(axis=1) & ~named[np.arange(len(real)), np.maximum(rest.labels, 1) - 1]
        misnamed.append(wrong[~real].mean())
    for shares in (wronged_real, called_real, misnamed):
        assert np.mean(np.array(shares) <= budget) >= 0.9
    assert np.mean(wronged_real) > budget / 20  # it is a limit, and not silence


def _rows(held_out, chosen):
    return HeldOut(held_out.probabilities[chosen], held_out.labels[chosen], held_out.groups[chosen])


def _said(decision, scores):
    """Which statements are made of each image, by the rule written out."""
    kinds = np.array([each.kind for each in decision.statements])
    passed = scores > decision._limits
    passed &= (kinds == "real") | passed[:, kinds == "forged"]
    return {
        "accused": passed[:, kinds != "real"].any(axis=1),
        "real": passed[:, kinds == "real"].any(axis=1),
        "class": passed[:, kinds == "class"],
    }
