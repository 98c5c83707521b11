from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from owdfa.metrics.clustering import (
    adjusted_rand_index,
    best_match,
    contingency,
    counts_of,
    matched_images,
    normalised_mutual_information,
)
from owdfa.metrics.conventions import Agreement, score_conventions


@st.composite
def scored(draw, max_classes=5, max_images=40):
    """Truth, predictions, and numbers of known classes, of classes and of indices."""
    num_known = draw(st.integers(1, max_classes))
    num_classes = num_known + draw(st.integers(0, max_classes - num_known))
    num_indices = num_known + draw(st.integers(0, max_classes + 1 - num_known))
    images = st.integers(1, max_images)
    size = draw(images)
    true = draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size))
    guess = draw(st.lists(st.integers(0, num_indices - 1), min_size=size, max_size=size))
    return np.array(true), np.array(guess), num_known, num_classes, num_indices


def accuracy_by_permutation(true, guess, num_classes, num_indices):
    """Try every assignment of indices to classes."""
    best, size = 0, max(num_classes, num_indices)
    for index_of in permutations(range(size), num_classes):
        right = sum(1 for t, g in zip(true, guess, strict=True) if index_of[t] == g)
        best = max(best, right)
    return best / len(true)


@settings(max_examples=60, deadline=None)
@given(scored(max_classes=4))
def test_all_and_novel_accuracy_are_those_of_the_best_permutation(case):
    true, guess, num_known, num_classes, num_indices = case
    table = contingency(true, guess, (num_classes, num_indices))
    paper, gcd = score_conventions(table, num_known)[:2]
    best = accuracy_by_permutation(true, guess, num_classes, num_indices)
    assert paper.all.acc == gcd.all.acc == pytest.approx(best, abs=1e-12)
    novel = true >= num_known
    if novel.any():
        best = accuracy_by_permutation(true[novel], guess[novel], num_classes, num_indices)
        assert paper.novel.acc == pytest.approx(best, abs=1e-12)
    else:
        assert paper.novel == gcd.novel == Agreement(0.0, 0.0, 0.0)
    if not novel.all():
        assert paper.known.acc == np.mean(true[~novel] == guess[~novel])


@settings(max_examples=150, deadline=None)
@given(scored(max_classes=6))
def test_nmi_and_ari_are_scikit_learns(case):
    true, guess, num_known, num_classes, num_indices = case
    found = score_conventions(contingency(true, guess, (num_classes, num_indices)), num_known).paper
    novel = true >= num_known
    for part, chosen in (("all", novel | True), ("known", ~novel), ("novel", novel)):
        if chosen.any():
            agreement = getattr(found, part)
            nmi = normalized_mutual_info_score(true[chosen], guess[chosen])
            assert agreement.nmi == pytest.approx(nmi, abs=1e-9)
            ari = adjusted_rand_score(true[chosen], guess[chosen])
            assert agreement.ari == pytest.approx(ari, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(scored(max_classes=6), st.randoms(use_true_random=False))
def test_how_novel_indices_are_numbered_does_not_matter_to_gcd(case, random):
    true, guess, num_known, num_classes, num_indices = case
    novel = list(range(num_known, num_indices))
    random.shuffle(novel)
    renumbered = np.array([*range(num_known), *novel])[guess]
    shape = (num_classes, num_indices)
    before = score_conventions(contingency(true, guess, shape), num_known).gcd
    after = score_conventions(contingency(true, renumbered, shape), num_known).gcd
    for one, other in zip(before, after, strict=True):
        assert one == pytest.approx(other, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored(max_classes=6))
def test_gcd_parts_add_up(case):
    true, guess, num_known, num_classes, num_indices = case
    found = score_conventions(contingency(true, guess, (num_classes, num_indices)), num_known).gcd
    num_known_images = np.sum(true < num_known)
    right = found.known.acc * num_known_images
    right += found.novel.acc * (len(true) - num_known_images)
    assert found.all.acc * len(true) == pytest.approx(right)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3))
def test_a_perfect_prediction_scores_one(num_known, num_novel, num_dead):
    true = np.repeat(np.arange(num_known + num_novel), 3)
    table = contingency(true, true, (num_known + num_novel, num_known + num_novel + num_dead))
    for convention in score_conventions(table, num_known)[:2]:
        assert np.asarray(convention) == pytest.approx(1.0)


def test_the_papers_convention_does_not_notice_absorbed_novel_classes():
    """Two novel classes taken for known ones: Novel ACC 1 by the paper, and no trace of it."""
    table = np.array([[90, 0, 0], [0, 80, 0], [100, 0, 0], [0, 100, 0]])
    paper, gcd = score_conventions(table, 2)[:2]
    assert (paper.known.acc, paper.novel.acc) == (1.0, 1.0)
    assert (gcd.known.acc, gcd.novel.acc) == (0.0, 1.0)
    assert paper.all.acc == gcd.all.acc == 200 / 370


def test_equal_matches_favour_known_classes():
    for order in ([0, 1, 2], [0, 2, 1]):
        table = np.array([[0, 5, 5], [0, 5, 5]])[:, order]
        assert score_conventions(table, 1).gcd.known.acc == 1 / 2
    table = np.array([[0, 0, 5], [0, 0, 5]])
    assert best_match(table, favoured=1).tolist() == [2, -1]
    assert matched_images(table, best_match(table, favoured=1)).tolist() == [5, 0]


def test_a_class_without_a_cluster_of_its_own_is_not_matched():
    table = np.array([[3, 0], [2, 0], [0, 0]])
    assert best_match(table).tolist() == [0, -1, -1]


def test_contingency_counts_every_image_once():
    generator = np.random.default_rng(0)
    true, guess = generator.integers(0, 4, 50), generator.integers(0, 6, 50)
    table = np.zeros((4, 7), dtype=int)
    for t, g in zip(true, guess, strict=True):
        table[t, g] += 1
    assert (contingency(true, guess, (4, 7)) == table).all()


def test_ari_of_a_billion_images_does_not_overflow():
    large = counts_of(np.array([[5 * 10**8, 10**8], [0, 4 * 10**8]]))
    small = counts_of(np.array([[5000, 1000], [0, 4000]]))
    assert adjusted_rand_index(large) == pytest.approx(adjusted_rand_index(small), abs=1e-3)
    assert normalised_mutual_information(large) == pytest.approx(
        normalised_mutual_information(small), abs=1e-12
    )
