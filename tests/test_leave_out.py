"""Hiding the labels of known classes."""

import numpy as np

from owdfa.leave_out import HiddenRound, hidden_rounds
from owdfa.records.training import UNLABELLED

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, UNLABELLED, UNLABELLED])


def test_each_known_class_is_hidden_once_and_half_of_the_others():
    rounds = list(hidden_rounds(LABELS, seed=3))
    assert sorted(each.hidden_class for each in rounds) == [0, 1, 2]
    for each in rounds:
        assert not (each.visible == each.hidden_class).any()
        assert each.held.tolist() == np.flatnonzero(each.visible != LABELS).tolist()
        shown = each.visible != UNLABELLED
        assert (each.visible[shown] == LABELS[shown]).all()
        left = {c: int((each.visible == c).sum()) for c in range(3) if c != each.hidden_class}
        assert left == {c: num for c, num in ((0, 2), (1, 2), (2, 1)) if c in left}


def test_there_are_no_more_rounds_than_wanted_and_none_without_a_second_class():
    assert len(list(hidden_rounds(LABELS, seed=0, max_rounds=2))) == 2
    assert not list(hidden_rounds(np.array([0, 0, UNLABELLED]), seed=0))


def test_a_hidden_class_is_found_again_in_the_free_cluster_that_holds_most_of_it():
    visible = np.array([0, -1, -1, -1, -1])
    labels = np.array([0, 0, 1, 1, 1])
    hidden = HiddenRound(visible, 1, np.array([1, 2, 3, 4]))
    assert hidden.found_again(labels, np.array([0, 0, 0, 5, 5])).tolist() == [0, 5, 5, 5]
    assert hidden.found_again(labels, np.array([0, 0, 0, 0, 0])).tolist() == [0, 1, 1, 1]
