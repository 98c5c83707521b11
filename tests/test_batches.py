import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.config import merge, parse_settings
from owdfa.distributed import Shard
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.images.workers import ordered_map
from owdfa.loading import batches
from owdfa.loading.batches import LoaderSettings, TrainingLoader, plain_batches
from owdfa.loading.sampling import RULES, sample_epoch
from owdfa.loading.views import PlainView, TrainingViews
from owdfa.records.split import TrainingRows
from owdfa.records.training import UNLABELLED
from tiny_store import make_store

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PLAIN = PlainView(8, MEAN, STD)


def make_loader(folder, count=22, seed=5, **changes):
    ids = [f"{i:03}" for i in range(count)]
    if not folder.exists():
        make_store(folder, ids, size=9)
    labels = np.where(np.arange(count) % 4 == 0, np.arange(count) % 3, UNLABELLED)
    table = {"batch_size": 8, "sampling": "half_labelled", "views": {"size": 8, "flip": 0.5}}
    chosen = parse_settings(LoaderSettings, merge(table, changes), "test")
    views = TrainingViews(("weak", "strong"), chosen.views, seed)
    return TrainingLoader(Store.open(folder), TrainingRows(ids[::-1], labels), chosen, views)


def same(one, other):
    """Whether two epochs are bit-identical."""
    pairs = zip(one, other, strict=True)
    return len(one) == len(other) and all(
        torch.equal(x, y)
        for a, b in pairs
        for x, y in zip((*a.views, a.labels, a.rows), (*b.views, b.labels, b.rows), strict=True)
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_workers_change_no_bit(tmp_path):
    here = make_loader(tmp_path / "s")
    elsewhere = make_loader(tmp_path / "s", workers=2)
    for epoch in (0, 1):
        assert same(list(here.epoch(epoch)), list(elsewhere.epoch(epoch)))
    unfinished = elsewhere.epoch(2)
    next(unfinished)
    assert same(list(here.epoch(3)), list(elsewhere.epoch(3)))


def test_an_epoch_needs_no_history(tmp_path):
    first, second = make_loader(tmp_path / "s"), make_loader(tmp_path / "s")
    past = [list(first.epoch(epoch)) for epoch in range(3)]
    assert same(list(second.epoch(2)), past[2])
    assert not same(past[1], past[2])
    assert same(list(second.epoch(2, start=1)), past[2][1:])


def test_the_seed_decides(tmp_path):
    one, other = make_loader(tmp_path / "s", seed=1), make_loader(tmp_path / "s", seed=2)
    assert not same(list(one.epoch(0)), list(other.epoch(0)))


def test_the_training_s_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(make_loader(tmp_path / "s").epoch(0))
    assert torch.equal(torch.rand(1), expected)


def test_batches_hold_the_image_and_label_of_their_rows(tmp_path):
    views = {"size": 9, "crop_size": 9, "flip": 0.0, "crop": 0.0, "jitter": 0.0}
    loader = make_loader(tmp_path / "s", views=views)
    pixels = Store.open(tmp_path / "s").pixels
    for batch in loader.epoch(0):
        assert batch.rows.dtype == batch.labels.dtype == torch.int64
        # Row r of the training table is image 21 - r of the store.
        expected = PlainView(9, MEAN, STD)(pixels[21 - batch.rows.numpy()])
        backbone = Backbone("none", nn.Identity(), MEAN, STD)
        assert all(torch.equal(backbone.normalise(view), expected) for view in batch.views)
        labels = torch.where(batch.rows % 4 == 0, batch.rows % 3, UNLABELLED)
        assert torch.equal(batch.labels, labels)


@pytest.mark.parametrize(
    ("num", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (7, [7]), (40, [8] * 5)]
)
def test_the_last_batch_is_kept_unless_it_is_one_image(tmp_path, num, sizes):
    loader = make_loader(tmp_path / "s", images_per_epoch=num)
    assert [len(batch.rows) for batch in loader.epoch(0)] == sizes
    assert len(loader) == loader.num_steps == len(sizes)


@pytest.fixture
def shard(monkeypatch):
    """Make loaders as if this were one of several processes."""

    def pretend(rank, num):
        monkeypatch.setattr(batches, "get_shard", lambda: Shard(rank, num))

    return pretend


@pytest.mark.parametrize(("num", "sizes"), [(2, [8, 8]), (3, [8, 8])])
def test_processes_see_their_part_of_the_same_views(tmp_path, shard, num, sizes):
    views = {"size": 8, "crop": 0.5, "jitter": 0.5}
    whole = list(make_loader(tmp_path / "s", images_per_epoch=19, views=views).epoch(1))
    assert [len(batch.rows) for batch in whole] == [8, 8, 3]
    parts = []
    for rank in range(num):
        shard(rank, num)
        loader = make_loader(tmp_path / "s", images_per_epoch=19, views=views)
        parts.append(list(loader.epoch(1)))
        # A last batch of 3 would leave a process one image, which cannot be normalised.
        assert [len(batch.rows) for batch in parts[-1]] == sizes
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=False):
        for view, *pieces in zip(batch.views, *[s.views for s in shares], strict=True):
            assert torch.equal(torch.cat(pieces), view)
        assert all(torch.equal(share.labels, batch.labels) for share in shares)
        assert all(torch.equal(share.rows, batch.rows) for share in shares)


def test_each_process_needs_two_images_of_a_batch(tmp_path, shard):
    shard(0, 4)
    assert len(make_loader(tmp_path / "s")) == 2
    shard(0, 5)
    with pytest.raises(UserError, match="in batches of 8; each of 5 processes needs at least 2"):
        make_loader(tmp_path / "s")


def test_one_image_cannot_be_trained_on(tmp_path):
    with pytest.raises(UserError, match="1 images to train on"):
        make_loader(tmp_path / "s", count=1)


def test_a_loader_can_be_sent_to_a_spawned_process(tmp_path):
    loader = make_loader(tmp_path / "s")
    dataset = pickle.loads(pickle.dumps(loader._batches.dataset))
    assert same([dataset[0, 1]], [list(loader.epoch(0))[1]])


def test_half_of_the_images_are_labelled_and_each_image_is_as_likely():
    labels = np.full(1000, UNLABELLED)
    labels[::50] = 1  # 20 of 1000
    order = sample_epoch(labels, "half_labelled", 100_000, seed=0, epoch=0)
    labelled = labels[order] != UNLABELLED
    assert abs(labelled.mean() - 0.5) < 0.007  # more than four deviations
    counts = np.bincount(order, minlength=1000)
    for kind, expected in ((labels != UNLABELLED, 2500), (labels == UNLABELLED, 50_000 / 980)):
        assert np.abs(counts[kind] - expected).max() < 5 * np.sqrt(expected)
        # Poisson: the variance of the counts is their mean.
        assert 0.4 < counts[kind].var() / expected < 2


@pytest.mark.parametrize("label", [0, UNLABELLED])
def test_half_labelled_with_one_kind_of_images_takes_them_all(label):
    order = sample_epoch(np.full(10, label), "half_labelled", 500, seed=0, epoch=0)
    assert set(order.tolist()) == set(range(10))


@given(
    n=st.integers(1, 40), num=st.integers(1, 100), seed=st.integers(0, 9), epoch=st.integers(0, 9)
)
@settings(max_examples=30, deadline=None)
def test_shuffled_takes_every_image_before_any_comes_again(n, num, seed, epoch):
    order = sample_epoch(np.zeros(n, int), "shuffled", num, seed=seed, epoch=epoch)
    assert len(order) == num
    for start in range(0, num, n):
        part = order[start : start + n]
        assert len(set(part.tolist())) == len(part)


@pytest.mark.parametrize("sampling", RULES)
def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(sampling):
    labels = np.where(np.arange(50) % 5 == 0, 1, UNLABELLED)
    orders = {
        (seed, epoch): sample_epoch(labels, sampling, 80, seed=seed, epoch=epoch).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    again = sample_epoch(labels, sampling, 80, seed=1, epoch=0).tolist()
    assert again == orders[1, 0]


def test_plain_batches_follow_the_ids(tmp_path):
    pixels = make_store(tmp_path / "s", ["a", "b", "c", "d", "e"])
    made = list(plain_batches(Store.open(tmp_path / "s"), list("ecadb"), PLAIN, batch_size=2))
    assert [batch.positions.tolist() for batch in made] == [[0, 1], [2, 3], [4]]
    images = torch.cat([batch.images for batch in made])
    assert torch.equal(images, PLAIN(pixels[[4, 2, 0, 3, 1]]))


def test_work_in_processes_keeps_its_order_and_leaves_none_behind():
    before = set(multiprocessing.active_children())
    assert list(ordered_map(abs, range(-9, 0), 2)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert set(multiprocessing.active_children()) == before


def test_a_worker_that_dies_is_an_error_of_one_line():
    with pytest.raises(UserError, match="a worker process died") as caught:
        list(ordered_map(os._exit, [1], 2))
    assert "\n" not in str(caught.value)
