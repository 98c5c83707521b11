"""Faces are followed by their boxes alone."""

import numpy as np
import pytest

from owdfa.images.boxes import Box, overlap
from owdfa.images.tracks import Tracker, is_cut

GREY = np.full((32, 32), 100, np.uint8)


def box(left, top=0, side=100, score=1.0):
    return Box(left, top, left + side, top + side, score)


def follow(*frames, interval=0.2):
    """Tracks of the boxes of frames that follow each other."""
    tracker = Tracker(interval)
    return [tracker.update(interval * i, boxes, GREY) for i, boxes in enumerate(frames)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(0), 1.0),
        (box(50), 1 / 3),
        (box(100), 0.0),
        (box(25, 25, 50), 0.25),
        (box(300, 300), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(other, expected):
    assert overlap(box(0), other) == pytest.approx(expected)
    assert overlap(other, box(0)) == pytest.approx(expected)


def test_a_face_that_moves_keeps_its_track_and_one_that_jumps_does_not():
    assert follow([box(0)], [box(40)], [box(80)], [box(200)]) == [[0], [0], [0], [1]]


def test_two_faces_that_pass_each_other_go_to_the_nearest_box():
    assert follow([box(0), box(150)], [box(140), box(10)]) == [[0, 1], [1, 0]]
    assert follow([box(0)], [box(30), box(10)]) == [[0], [1, 0]]  # the nearer one; the other is new


def test_a_track_outlives_a_second_without_its_face_and_no_more():
    gone = [[]] * 4
    assert follow([box(0)], *gone, [box(0)]) == [[0], *gone, [0]]
    gone = [[]] * 5
    assert follow([box(0)], *gone, [box(0)]) == [[0], *gone, [1]]
    assert follow([box(0)], [], [box(0)], interval=2) == [[0], [], [0]]


def test_a_cut_ends_every_track():
    tracker = Tracker()
    dark, light = np.full((32, 32), 20, np.uint8), np.full((32, 32), 220, np.uint8)
    assert tracker.update(0.0, [box(0)], dark) == [0]
    assert tracker.update(0.1, [box(0)], light) == [1]
    assert tracker.update(0.2, [box(0)], light) == [1]
    assert not is_cut(light, light - 30)
    assert is_cut(dark, light)
    assert is_cut(light, dark)


def test_a_face_has_one_track_and_a_track_one_face():
    random = np.random.default_rng(0)
    tracker = Tracker(0.2)
    for i in range(50):
        boxes = [box(int(x)) for x in random.integers(0, 400, 6)]
        found = tracker.update(0.2 * i, boxes, GREY)
        assert len(set(found)) == len(boxes)
