"""Groups of embeddings, and ids that last: pure functions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owdfa.discovery import density
from owdfa.discovery.density import (
    ALONE,
    components,
    dense_groups,
    dense_groups_among,
    stability,
    two_parts,
)
from owdfa.discovery.matching import Region, match_groups, new_id


def blobs(sizes, *, dim=12, spread=0.15, noise=0, seed=0):
    """Directions in space, with images about each, and some that are alone: embeddings, truth."""
    stream = np.random.default_rng(seed)
    centres = np.eye(dim)[: len(sizes)]
    truth = np.repeat([*range(len(sizes)), ALONE], [*sizes, noise])
    rows = stream.normal(0, spread, (len(truth), dim))
    rows[truth != ALONE] += centres[truth[truth != ALONE]]
    rows[truth == ALONE] = stream.normal(0, 1, (noise, dim))
    return (5 * rows).astype(np.float32), truth


def same_partition(found, truth):
    return len(set(zip(found, truth, strict=True))) == len(set(truth)) == len(set(found))


def test_dense_groups_are_found_and_what_is_alone_is_left():
    rows, truth = blobs((30, 20, 12), noise=10)
    found = dense_groups(components(rows), 5, 0)
    there = truth != ALONE
    assert same_partition(found[there & (found != ALONE)], truth[there & (found != ALONE)])
    assert (found[there] != ALONE).mean() > 0.9
    assert (found[~there] == ALONE).mean() > 0.5


def test_one_group_is_found_beside_images_of_known_types():
    rows, truth = blobs((40, 30))
    found = dense_groups_among(components(rows), truth == 1, 5, 0)
    assert set(found[truth == 0]) == {0}
    assert set(found[truth == 1]) == {ALONE}


def test_images_like_a_known_type_are_no_group():
    rows, truth = blobs((40, 30, 12))
    others = (truth == 0) & (np.arange(len(truth)) % 3 > 0)  # 13 of 40 are unsure
    found = dense_groups_among(components(rows), others, 5, 0)
    assert set(found[truth == 0]) == {ALONE}
    assert sorted({*found[truth == 1], *found[truth == 2]}) == [0, 1]


def test_a_small_group_is_found_beside_large_ones_that_a_part_shows_first(monkeypatch):
    monkeypatch.setattr(density, "_PART", 120)
    rows, truth = blobs((900, 500, 15), noise=20)
    found = dense_groups(components(rows), 5, 0)
    for group in range(3):
        own, counts = np.unique(found[truth == group], return_counts=True)
        assert counts.max() > 0.8 * (truth == group).sum()
        assert own[counts.argmax()] != ALONE
    assert np.array_equal(found, dense_groups(components(rows), 5, 0))


def test_a_stable_group_is_told_from_an_arbitrary_half():
    rows, truth = blobs((40, 40))
    found = components(rows)
    halves = np.where(truth == 0, np.arange(80) % 2, 2)  # group 0 cut in two at random
    scores = stability(found, halves, 5, 4, 0)
    assert scores[2] > 0.8
    assert max(scores[:2]) < 0.7
    assert stability(found, halves, 5, 0, 0) == [None, None, None]


def test_two_parts_are_those_that_lie_apart():
    rows, truth = blobs((20, 8))
    assert np.array_equal(two_parts(rows), truth == 1)


def images(*numbers):
    return frozenset(f"i{n:03d}" for n in numbers)


def test_ids_last_and_the_lineage_says_what_became_of_each():
    before = {
        "novel-same": images(1, 2, 3),
        "novel-more": images(*range(10, 16)),
        "novel-less": images(*range(20, 26)),
        "novel-part": images(*range(30, 40)),
        "novel-into": images(*range(40, 46)),
        "novel-eats": images(*range(50, 60)),
        "novel-away": images(70, 71, 72),
    }
    found = [
        images(1, 2, 3),
        images(*range(10, 19)),
        images(20, 21, 22),
        images(*range(30, 36)),
        images(*range(36, 40)),
        images(*range(40, 60)),
        images(*range(80, 86)),
    ]
    matched = match_groups(found, before, {}, ())
    changes = {id_: (each.change, each.sources) for id_, each in matched.lineage.items()}
    split, fresh = (id_ for id_ in matched.members if id_ not in before)
    assert changes == {
        "novel-same": ("same", ()), "novel-more": ("grew", ()), "novel-less": ("shrank", ()),
        "novel-part": ("shrank", ()), "novel-eats": ("merged", ("novel-into",)),
        split: ("split", ("novel-part",)), fresh: ("new", ()),
    }  # fmt: skip
    assert matched.members[split] == images(*range(36, 40))
    assert matched.gone == {"novel-into": ("novel-eats",), "novel-away": ()}


def test_the_largest_of_many_small_groups_gives_its_id_to_what_they_are_part_of():
    before = {f"novel-{n}": images(*range(10 * n, 10 * n + 5 + n)) for n in range(5)}
    matched = match_groups([frozenset().union(*before.values())], before, {}, ())
    assert matched.lineage.keys() == {"novel-4"}
    assert set(matched.lineage["novel-4"].sources) == before.keys() - {"novel-4"}
    assert set(matched.gone.values()) == {("novel-4",)}


def test_images_that_a_reviewer_decided_on_stay_and_others_join_them():
    before = {"novel-a": images(1, 2, 3, 4), "novel-b": images(5, 6, 8)}
    held = {"novel-a": images(1, 2, 3, 4)}
    matched = match_groups([images(1, 2, 3, 4, 9), images(5, 6, 8, 7)], before, held, ())
    assert matched.members == {"novel-a": images(1, 2, 3, 4, 9), "novel-b": images(5, 6, 7, 8)}
    matched = match_groups([images(5, 6, 8, 1, 2)], before, held, ())
    assert matched.members == {"novel-a": images(1, 2, 3, 4), "novel-b": images(5, 6, 8)}
    assert matched.lineage["novel-a"].change == "kept"


def test_what_lies_with_held_images_of_a_group_joins_it_though_it_is_found_in_two_parts():
    before = {"novel-a": images(*range(10))}
    found = [images(*range(6), 20), images(*range(6, 10), 21)]
    matched = match_groups(found, before, before, ())
    assert matched.members == {"novel-a": images(*range(10), 20, 21)}
    assert matched.lineage["novel-a"].change == "grew"


def test_groups_without_common_images_are_matched_by_centre():
    near, far = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    before = {"novel-a": images(1, 2), "novel-b": images(3, 4)}
    regions = ([Region(near + 0.05, 0.2), Region(-near, 0.2)],
               {"novel-a": Region(near, 0.2), "novel-b": Region(far, 0.2)})  # fmt: skip
    found = [images(7, 8), images(9, 10)]
    matched = match_groups(found, before, {}, (), regions)
    assert matched.members["novel-a"] == images(7, 8)
    assert "novel-b" in matched.gone
    assert set(match_groups(found, before, {}, ()).members).isdisjoint(before)


def test_an_id_is_never_given_twice():
    used = set()
    for _ in range(5):
        used.add(new_id(images(1, 2), used))
    assert len(used) == 5
    assert all(id_.startswith(min(used, key=len)) for id_ in used)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-1, 5), min_size=1, max_size=40),
    st.lists(st.integers(-1, 5), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
)
def test_every_image_is_in_one_group_at_most_and_none_is_lost(found, before, held):
    def groups(labels):
        made = {}
        for number, label in enumerate(labels):
            if label >= 0:
                made.setdefault(label, set()).add(number)
        return {f"novel-{label}": images(*numbers) for label, numbers in made.items()}

    was, now = groups(before), list(groups(found).values())
    fixed = {id_: each & images(*held) for id_, each in was.items()}
    matched = match_groups(now, was, fixed, ())
    every = [image for each in matched.members.values() for image in each]
    assert len(every) == len(set(every))
    assert set(every) == frozenset().union(*now, *fixed.values())
    assert all(fixed[id_] <= matched.members.get(id_, frozenset()) for id_ in fixed)
    assert was.keys() <= matched.members.keys() | matched.gone.keys()
    assert matched.members.keys() == matched.lineage.keys()


@pytest.mark.parametrize("num", [5, 6])
def test_few_images_are_grouped_too(num):
    rows, _ = blobs((num,))
    assert set(dense_groups(components(rows), 5, 0)) <= {0, ALONE}
