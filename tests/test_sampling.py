"""CPL's sampling rule: in turn an unlabelled image and one of the class seen least."""

import numpy as np
import pytest

from owdfa.loading.sampling import sample_epoch

LABELS = np.array([0] * 20 + [1] * 3 + [4] * 7 + [-1] * 30)


def sample(labels, num_images, seed=0, epoch=0):
    return sample_epoch(labels, "alternating", num_images, seed=seed, epoch=epoch)


def test_kinds_alternate():
    order = sample(LABELS, 60)
    assert len(order) == 60
    assert (LABELS[order[0::2]] == -1).all()
    assert (LABELS[order[1::2]] != -1).all()


def test_no_class_is_ever_seen_twice_more_than_another():
    seen = dict.fromkeys((0, 1, 4), 0)
    for label in LABELS[sample(LABELS, 101)[1::2]].tolist():
        seen[label] += 1
        assert max(seen.values()) - min(seen.values()) <= 1


def test_all_images_of_a_class_come_before_any_comes_again():
    order = sample(LABELS, 300)
    for label in (0, 1, 4, -1):
        rows = order[LABELS[order] == label].tolist()
        size = np.count_nonzero(label == LABELS)
        for start in range(0, len(rows) - size + 1, size):
            assert len(set(rows[start : start + size])) == size


def test_classes_seen_alike_come_in_any_order():
    firsts = {LABELS[sample(LABELS, 2, epoch=epoch)[1]] for epoch in range(50)}
    assert firsts == {0, 1, 4}


@pytest.mark.parametrize("num_images", [1, 2, 7, 500])
def test_of_one_kind_alone_all_are_taken(num_images):
    assert len(sample(np.full(9, -1), num_images)) == num_images
    labelled = LABELS[LABELS >= 0]
    order = sample(labelled, num_images)
    assert len(order) == num_images
    counts = np.bincount(labelled[order], minlength=5)[[0, 1, 4]]
    assert counts.max() - counts.min() <= 1


def test_the_order_depends_on_seed_and_epoch_alone():
    assert (sample(LABELS, 60, 3, 2) == sample(LABELS, 60, 3, 2)).all()
    assert (sample(LABELS, 60, 3, 2) != sample(LABELS, 60, 3, 1)).any()
