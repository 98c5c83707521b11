from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owdfa.dpp import merge, num_to_keep, prune

usages = st.lists(st.integers(0, 40), min_size=1, max_size=30)
coverages = st.floats(0.01, 1.0)


def keep_by_hand(usage, coverage):
    """The rule of the paper, one prototype after the other."""
    if sum(usage) == 0:
        return len(usage)
    k_min = 0
    while sum(usage[: k_min + 1]) / sum(usage) < coverage:
        k_min += 1
    tail = usage[k_min:]
    mean = sum(tail) / len(tail)
    steps = [abs(after - before) for before, after in pairwise(tail)]
    step = sum(steps) / len(steps) if steps else 0.0
    k = k_min + 1
    while k < len(usage) and (usage[k] >= mean or abs(usage[k] - usage[k - 1]) >= step):
        k += 1
    return k


def merge_by_hand(kept, dropped):
    groups = [[row] for row in kept]
    for row in dropped:
        cosines = [row @ other / (np.linalg.norm(row) * np.linalg.norm(other)) for other in kept]
        groups[int(np.argmax(cosines))].append(row)
    means = [np.mean(group, axis=0) for group in groups]
    return [
        mean / np.linalg.norm(mean) if len(group) > 1 else group[0]
        for mean, group in zip(means, groups, strict=True)
    ]


def vectors(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 4, dtype=torch.float64, generator=generator)


@settings(deadline=None)
@given(usages, coverages)
def test_number_by_hand(usage, coverage):
    ranked = sorted(usage, reverse=True)
    assert num_to_keep(torch.tensor(ranked), coverage) == keep_by_hand(ranked, coverage)


@settings(deadline=None)
@given(usages, coverages)
def test_kept_prototypes_cover_what_they_must(usage, coverage):
    ranked = torch.tensor(usage).sort(descending=True).values
    num_kept = num_to_keep(ranked, coverage)
    assert 1 <= num_kept <= len(usage)
    assert ranked[:num_kept].sum() >= coverage * ranked.sum() * (1 - 1e-12)


@pytest.mark.parametrize(
    ("usage", "kept"),
    [
        ([0, 0, 0], 3),  # nothing was chosen: nothing can be said
        ([7], 1),
        ([5, 5, 5, 5], 4),  # no elbow
        ([100, 100, 3, 0, 0, 0], 3),  # 3 lies above the mean of what follows the elbow
    ],
)
def test_number_in_plain_cases(usage, kept):
    assert num_to_keep(torch.tensor(usage), 0.9544) == kept


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 8), st.integers(0, 12), st.integers(0, 1000))
def test_merging_by_hand(num_kept, num_dropped, seed):
    kept, dropped = vectors(num_kept, seed), vectors(num_dropped, seed + 1)
    found = merge(kept, dropped)
    np.testing.assert_allclose(found, merge_by_hand(kept.numpy(), dropped.numpy()), atol=1e-12)


def test_what_received_nothing_keeps_its_length():
    kept = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    found = merge(kept, torch.tensor([[1.0, 0.1]]))
    assert found[0].norm().item() == pytest.approx(1)
    assert torch.equal(found[1], kept[1])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), usages, coverages, st.integers(0, 1000))
def test_pruning_keeps_the_known_and_ranks_the_rest(num_known, usage, coverage, seed):
    prototypes = vectors(num_known + len(usage), seed)
    counts = torch.tensor([999] * num_known + usage)
    left = prune(prototypes, counts, num_known, coverage)
    assert torch.equal(left.prototypes[:num_known], prototypes[:num_known])
    sources = left.sources.tolist()
    assert sources[:num_known] == list(range(num_known))
    ranked = sorted(range(len(usage)), key=lambda row: (-usage[row], row))
    expected = [num_known + row for row in ranked[: len(sources) - num_known]]
    assert sources[num_known:] == expected  # equals: the lower row first


@settings(deadline=None, max_examples=20)
@given(usages, st.integers(0, 1000))
def test_scale_of_the_counts_does_not_matter(usage, seed):
    prototypes, counts = vectors(2 + len(usage), seed), torch.tensor([0, 0, *usage])
    once, thrice = (prune(prototypes, n * counts, 2, 0.9544) for n in (1, 3))
    assert torch.equal(once.sources, thrice.sources)
