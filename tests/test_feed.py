import threading

import numpy as np
import pytest
import torch

from owdfa.config import fill
from owdfa.distributed import Share
from owdfa.errors import UserError
from owdfa.images.device_views import DeviceViews
from owdfa.images.store import Store
from owdfa.loader import LoaderSettings, TrainingLoader
from owdfa.records.split import TrainingRows
from owdfa.records.training import UNLABELLED
from owdfa.training.feed import DeviceFeed, ResidentCrops, StreamedCrops, fits
from tiny_store import make_store

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
WHOLE = Share()
CPU = torch.device("cpu")
VIEWS = {"size": 8, "crop_size": 10, "crop": 0.5, "jitter": 0.5}


def make(folder, kind, count=22, share=WHOLE, **changes):
    ids = [f"{i:03}" for i in range(count)]
    if not folder.exists():
        make_store(folder, ids, size=9)
    labels = np.where(np.arange(count) % 4 == 0, np.arange(count) % 3, UNLABELLED)
    chosen = fill(LoaderSettings, {"batch_size": 8, "views": VIEWS} | changes, "test")
    arguments = (Store.open(folder), TrainingRows(ids[::-1], labels), chosen)
    if kind == "host":
        loader = TrainingLoader(*arguments, mean=MEAN, std=STD, seed=5)
        loader._batches.dataset.share = share
        return loader
    views = DeviceViews(chosen.views, 9, mean=MEAN, std=STD, device=CPU)
    feed = DeviceFeed(*arguments, views, 5)
    feed.share = share
    if kind == "resident":
        store = arguments[0]
        feed.crops = ResidentCrops(store.pixels.view(np.ndarray), store.rows(ids[::-1]), CPU)
    return feed


def assert_same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        for x, y in zip((*a.views, a.labels, a.rows), (*b.views, b.labels, b.rows), strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize(
    "changes", [{}, {"images_per_epoch": 17}, {"sampling": "shuffled", "images_per_epoch": 50}]
)
def test_the_device_is_fed_what_the_host_s_loader_gives(tmp_path, kind, changes):
    host, feed = make(tmp_path / "s", "host", **changes), make(tmp_path / "s", kind, **changes)
    assert len(host) == len(feed) == host.num_steps
    for epoch in (0, 3):
        assert_same(host.epoch(epoch), feed.epoch(epoch))
    assert_same(host.epoch(1, start=1), feed.epoch(1, start=1))


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_process_gets_its_share(tmp_path, kind, rank):
    # The last batch holds two images: the third process has none of it.
    chosen = {"images_per_epoch": 10, "share": Share(rank, 3)}
    host, feed = make(tmp_path / "s", "host", **chosen), make(tmp_path / "s", kind, **chosen)
    assert_same(host.epoch(1), feed.epoch(1))


def test_the_host_s_crops_are_streamed(tmp_path):
    feed = make(tmp_path / "s", "streamed")
    assert isinstance(feed.crops, StreamedCrops)
    assert not feed.resident
    assert not fits(0, CPU, 1.0)


def test_an_epoch_that_is_left_leaves_no_thread_behind(tmp_path):
    before = threading.active_count()
    feed = make(tmp_path / "s", "streamed", images_per_epoch=200)
    unfinished = feed.epoch(0)
    next(unfinished)
    assert threading.active_count() == before + 1
    unfinished.close()
    assert threading.active_count() == before
    assert_same(make(tmp_path / "s", "host").epoch(1), make(tmp_path / "s", "streamed").epoch(1))


def test_an_error_of_the_thread_reaches_the_training(tmp_path):
    feed = make(tmp_path / "s", "streamed")
    feed.crops.places = np.array(["no row"])
    before = threading.active_count()
    with pytest.raises(IndexError):
        list(feed.epoch(0))
    assert threading.active_count() == before


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.workers: no process makes batches"):
        make(tmp_path / "s", "streamed", workers=1)
    with pytest.raises(UserError, match="1 images to train on"):
        make(tmp_path / "t", "streamed", count=1)
