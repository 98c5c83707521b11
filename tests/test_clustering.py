import numpy as np
import pytest

from owdfa.clustering import iterate, plus_plus, semi_supervised_kmeans, squared_distances


def mixture(num_classes=6, dim=5, per_class=30, spread=0.1, seed=0):
    stream = np.random.default_rng(seed)
    centres = 3 * stream.normal(size=(num_classes, dim))
    truth = np.repeat(np.arange(num_classes), per_class)
    return centres[truth] + spread * stream.normal(size=(len(truth), dim)), truth


def test_distances_by_hand():
    rows, _ = mixture()
    expected = [[sum((a - b) ** 2) for b in rows[:3]] for a in rows]
    assert squared_distances(rows, rows[:3]) == pytest.approx(np.array(expected), abs=1e-9)
    assert (squared_distances(rows.astype(np.float32), rows.astype(np.float32)) >= 0).all()


def test_plus_plus_by_hand():
    rows = np.array([[0.0], [1.0], [3.0]])
    # From a centre at 0 the odds are 0, 1, 9: the second row below a tenth, then the third.
    for chance, expected in ((0.0, 1.0), (0.099, 1.0), (0.101, 3.0), (0.999, 3.0)):
        assert plus_plus(rows, np.array([[0.0]]), np.array([chance])).tolist() == [[expected]]
    # After 3 was drawn, 1 is the only row that is not a centre.
    drawn = plus_plus(rows, np.array([[0.0]]), np.array([0.5, 0.5]))
    assert drawn.tolist() == [[3.0], [1.0]]
    # Without a centre the first one is drawn from all alike.
    assert plus_plus(rows, rows[:0], np.array([0.4])).tolist() == [[1.0]]
    # With every row a centre any will do.
    assert len(plus_plus(rows, rows, np.array([0.2, 0.9]))) == 2


def test_iterations_by_hand():
    rows = np.array([[0.0], [1.0], [5.0], [6.0], [2.0]])
    labels = np.array([-1, -1, -1, -1, 1])  # at 2, and held in the class that starts at 6
    found = iterate(rows, labels, np.array([[0.0], [6.0]]), 100)
    assert found.assigned.tolist() == [0, 0, 1, 1, 1]
    assert found.centres.ravel().tolist() == pytest.approx([0.5, 13 / 3])
    assert found.inertia == pytest.approx(0.5 + (2 / 3) ** 2 + (5 / 3) ** 2 + (7 / 3) ** 2)


def test_a_centre_without_rows_stays():
    rows = np.array([[0.0], [1.0]])
    found = iterate(rows, np.array([-1, -1]), np.array([[0.0], [100.0]]), 10)
    assert found.centres.ravel().tolist() == [0.5, 100.0]


def test_iterations_lower_the_inertia_and_end_where_nothing_moves():
    rows, truth = mixture(spread=2.0)
    labels = np.where((truth < 2) & (np.arange(len(truth)) % 3 == 0), truth, -1)
    start = rows[::30].copy()
    inertias = [iterate(rows, labels, start, number).inertia for number in range(1, 20)]
    assert all(np.diff(inertias) <= 1e-9)
    found = iterate(rows, labels, start, 200)
    again = iterate(rows, labels, found.centres, 200)
    assert np.array_equal(again.assigned, found.assigned)
    assert np.array_equal(found.assigned[labels >= 0], labels[labels >= 0])


def test_known_mixture_is_found():
    rows, truth = mixture()
    labels = np.where((truth < 3) & (np.arange(len(truth)) % 2 == 0), truth, -1)
    found = semi_supervised_kmeans(rows, labels, 6, seed=0)
    assert np.array_equal(found.assigned[truth < 3], truth[truth < 3])
    assert len(set(zip(found.assigned.tolist(), truth.tolist(), strict=True))) == 6


def test_same_seed_same_clusters_and_more_starts_are_never_worse():
    rows, truth = mixture(num_classes=12, spread=2.0)
    labels = np.where((truth < 3) & (np.arange(len(truth)) % 2 == 0), truth, -1)
    one, other = (semi_supervised_kmeans(rows, labels, 12, seed=3) for _ in range(2))
    assert np.array_equal(one.assigned, other.assigned)
    assert np.array_equal(one.centres, other.centres)
    single = semi_supervised_kmeans(rows, labels, 12, seed=3, num_starts=1)
    assert one.inertia <= single.inertia


def test_classes_without_a_labelled_row_are_started_as_others():
    rows, truth = mixture(num_classes=3)
    labels = np.where((truth == 1) & (np.arange(len(truth)) % 2 == 0), 1, -1)
    found = semi_supervised_kmeans(rows, labels, 3, seed=0)
    assert np.array_equal(found.assigned == 1, truth == 1)


def test_plain_kmeans_without_labels():
    rows, truth = mixture()
    found = semi_supervised_kmeans(rows, np.full(len(rows), -1), 6, seed=0)
    assert len(set(zip(found.assigned.tolist(), truth.tolist(), strict=True))) == 6
