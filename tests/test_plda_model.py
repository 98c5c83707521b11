"""Closed forms of the generative model of types against numerical integration and plain loops."""

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal, norm

from owdfa.plda.mixture import Mixture, known_only, step
from owdfa.plda.model import (
    Prior,
    Types,
    log_density,
    log_group_density,
    log_mixture,
    posterior,
    unseen,
)
from owdfa.plda.ratios import best_factor, cllr, group_log_ratios, log_ratios

PRIOR = Prior(np.array([1.7]), 0.6)
MEMBERS = np.array([[0.3], [1.9], [1.1]])


def joint(mean, rows, prior=PRIOR):
    """Density of a mean and of rows about it, in one dimension."""
    density = norm.pdf(mean, 0, np.sqrt(prior.between[0]))
    for (value,) in rows:
        density *= norm.pdf(value, mean, np.sqrt(prior.noise))
    return density


def integral(rows):
    return quad(joint, -20, 20, args=(rows,), points=[0, 1], epsabs=1e-13)[0]


def after(members):
    return posterior(members.sum(axis=0)[None], np.array([len(members)]), PRIOR)


def test_the_posterior_of_a_mean_agrees_with_integration():
    total = integral(MEMBERS)
    mean = quad(lambda m: m * joint(m, MEMBERS), -20, 20)[0] / total
    square = quad(lambda m: m * m * joint(m, MEMBERS), -20, 20)[0] / total
    found = after(MEMBERS)
    assert found.means[0, 0] == pytest.approx(mean, rel=1e-8)
    assert found.variances[0, 0] == pytest.approx(square - mean**2, rel=1e-8)


@pytest.mark.parametrize("value", [-2.0, 0.4, 5.0])
def test_the_density_of_the_next_member_agrees_with_integration(value):
    more = np.array([[value]])
    expected = integral(np.concatenate([MEMBERS, more])) / integral(MEMBERS)
    assert np.exp(log_density(more, after(MEMBERS)))[0, 0] == pytest.approx(expected, rel=1e-7)
    alone = np.exp(log_density(more, unseen(PRIOR)))[0, 0]
    assert alone == pytest.approx(integral(more), rel=1e-7)


def test_the_density_of_a_group_agrees_with_integration():
    group = np.array([[0.2], [2.5], [-1.0]])
    expected = integral(np.concatenate([MEMBERS, group])) / integral(MEMBERS)
    assert np.exp(log_group_density(group, after(MEMBERS)))[0] == pytest.approx(expected, rel=1e-7)
    alone = np.exp(log_group_density(group, unseen(PRIOR)))[0]
    assert alone == pytest.approx(integral(group), rel=1e-7)


def test_in_two_dimensions_the_density_agrees_with_integration():
    prior = Prior(np.array([0.8, 2.0]), 1.3)
    group = np.array([[0.5, -1.0], [1.5, 0.4]])

    def density(y, x):
        made = multivariate_normal.pdf([x, y], [0, 0], np.diag(prior.between))
        for row in group:
            made *= multivariate_normal.pdf(row, [x, y], prior.noise)
        return made

    expected = dblquad(density, -7, 7, -7, 7, epsabs=1e-5)[0]
    found = np.exp(log_group_density(group, unseen(prior)))[0]
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_density_of_a_group_is_a_product_of_next_members():
    """Chain rule, in many dimensions, for types of which members were seen."""
    stream = np.random.default_rng(0)
    prior = Prior(stream.random(7) + 0.1, 1.4)
    members, group = stream.normal(size=(2, 5, 7))
    seen, expected = members, 0.0
    for row in group:
        types = posterior(seen.sum(axis=0)[None], np.array([len(seen)]), prior)
        expected += log_density(row[None], types)[0, 0]
        seen = np.concatenate([seen, row[None]])
    types = posterior(members.sum(axis=0)[None], np.array([5]), prior)
    assert log_group_density(group, types)[0] == pytest.approx(expected, rel=1e-10)


def test_a_known_mean_leaves_the_noise():
    types = Types(np.array([[2.0]]), np.zeros((1, 1)), np.array([0.25]))
    expected = norm.logpdf(1.0, 2.0, 0.5)
    assert log_density(np.array([[1.0]]), types)[0, 0] == pytest.approx(expected)


def test_one_iteration_by_hand():
    """Loops over images and types; labelled images stay, and every type is as likely."""
    stream = np.random.default_rng(3)
    labelled = np.array([[0.0, 0.0], [0.4, -0.2], [3.0, 3.0]])
    rows = np.concatenate([labelled, stream.normal(size=(30, 2)) * 2 + 1])
    labels = np.concatenate([[0, 0, 1], np.full(30, -1)])
    prior = Prior(np.array([2.0, 3.0]), 1.2)
    found = posterior(np.array([[-4.0, 6.0]]), np.array([2]), prior)
    mixture = known_only(rows, labels, 2, prior).with_found(found)
    made, likelihood = step(mixture, rows[3:])
    sums, counts, members = np.zeros((3, 2)), np.zeros(3), np.zeros(3)
    sums[0], sums[1], counts[:2] = labelled[:2].sum(axis=0), labelled[2], (2, 1)
    total = 0.0
    for row in rows[3:]:
        weights = [float(np.exp(each)) for each in mixture.log_densities(row[None])[0]]
        total += np.log(sum(weights) / 3)
        for place in range(3):
            share = weights[place] / sum(weights)
            members[place] += share
            sums[place] += share * row
            counts[place] += share
    assert likelihood == pytest.approx(total / 30)
    np.testing.assert_allclose(made.counts, counts)
    for place, noise in enumerate((1.0, 1.0, 1.2)):
        variance = 1 / (1 / prior.between + counts[place] / noise)
        np.testing.assert_allclose(made.types.variances[place], variance)
        np.testing.assert_allclose(made.types.means[place], variance * sums[place] / noise)
    np.testing.assert_allclose(made.shares, (members + 1) / (members.sum() + 3))
    assert isinstance(made, Mixture)


def test_log_mixture_survives_what_cannot_be_exponentiated():
    logs = np.array([[-2000.0, -2000.0], [700.0, 800.0]])
    np.testing.assert_allclose(log_mixture(logs), [-2000 + np.log(2), 800])


def test_ratios_are_against_the_best_other_explanation():
    prior = Prior(np.array([4.0, 4.0]), 1.5)
    types = posterior(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([3, 3]), prior)
    rows = np.array([[3.0, 0.0], [-8.0, -8.0]])
    found = log_ratios(rows, types, prior)
    logs = [log_density(rows, each)[:, 0] for each in (types.take([0]), types.take([1]))]
    logs.append(log_density(rows, unseen(prior))[:, 0])
    for place in range(3):
        others = np.max([logs[j] for j in range(3) if j != place], axis=0)
        np.testing.assert_allclose(found[:, place], logs[place] - others)
    assert found[0].argmax() == 0
    assert found[1].argmax() == 2  # like nothing that was seen


def test_a_group_says_more_than_an_image():
    prior = Prior(np.full(3, 2.0))
    types = posterior(np.array([[20.0, 0, 0], [0, 20.0, 0]]), np.array([10, 10]), prior)
    group = np.array([[1.2, 0.5, 0.1], [1.0, 0.4, -0.2], [1.5, 0.8, 0.3]])
    alone = log_ratios(group, types, prior)[:, 0]
    assert group_log_ratios(group, types, prior)[0] > alone.max()
    np.testing.assert_allclose(
        group_log_ratios(group[:1], types, prior), log_ratios(group, types, prior)[0]
    )


def test_the_cost_of_ratios_is_known_in_simple_cases():
    assert cllr(np.zeros(3), np.zeros(5)) == pytest.approx(1)
    assert cllr(np.full(3, 50.0), np.full(3, -50.0)) == pytest.approx(0, abs=1e-12)
    assert cllr(np.full(3, -5.0), np.full(3, 5.0)) > 7
    assert cllr(np.log([4.0]), np.log([0.5])) == pytest.approx((np.log2(1.25) + np.log2(1.5)) / 2)


def test_ratios_that_are_too_sure_are_scaled_back():
    """Log-ratios of two Gaussians, times five: a fifth makes them right."""
    stream = np.random.default_rng(0)
    same, different = stream.normal(1, 1, 4000), stream.normal(-1, 1, 4000)
    found = best_factor(5 * 2 * same, 5 * 2 * different)
    assert found.factor == pytest.approx(0.2, rel=0.1)
    assert found.cllr < cllr(10 * same, 10 * different)
