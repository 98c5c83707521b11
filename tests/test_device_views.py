import numpy as np
import pytest
import torch

from owdfa.images.device_views import DeviceViews
from owdfa.images.views import TrainingViews, ViewSettings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
MANY = {"crop": 0.5, "jitter": 0.6}


def crops(count, side, seed=0):
    """Noise: any other weight of any pixel would show."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def both(settings, side, *, count=40, first=3, epoch=2, seed=5):
    """The views of the host and of the device of the same crops."""
    pixels = crops(count, side)
    host = TrainingViews(settings, MEAN, STD, seed)(pixels, epoch, first)
    views = DeviceViews(settings, side, mean=MEAN, std=STD, device=CPU)
    choices = views.choose(seed, epoch, first + count)
    return host, views(torch.from_numpy(pixels), choices.part(slice(first, first + count)))


@pytest.mark.parametrize(
    ("side", "size", "crop_size"),
    [
        (27, 24, 27),  # as the paper: resize, crop, resize
        (24, 24, 24),  # nothing to resize
        (16, 24, None),  # enlarged
        (40, 24, 30),  # shrunk twice
        (100, 16, 16),  # shrunk so much that float32 would not be exact
        (33, 21, 19),  # shrunk, then enlarged
    ],
)
def test_the_device_s_views_are_the_host_s_to_the_bit(side, size, crop_size):
    settings = ViewSettings(size=size, crop_size=crop_size, **MANY)
    host, device = both(settings, side)
    for expected, found in zip(host, device, strict=True):
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(expected, found)


def test_crops_of_every_shape_and_place():
    settings = ViewSettings(size=16, crop=1.0, jitter=0.0, crop_scale=(0.02, 1.0))
    host, device = both(settings, 37, count=300)
    assert torch.equal(host[1], device[1])


def test_strong_jitter_keeps_within_the_levels():
    settings = ViewSettings(size=24, crop_size=24, jitter=1.0, jitter_strength=1.0)
    host, device = both(settings, 24, count=100)
    assert torch.equal(host[1], device[1])


def test_the_release_s_sizes():
    host, device = both(ViewSettings(size=256, crop_size=292, **MANY), 292, count=3)
    assert all(torch.equal(a, b) for a, b in zip(host, device, strict=True))


def test_crops_and_views_apart_share_no_memory():
    pixels = torch.from_numpy(crops(4, 24))
    before = pixels.clone()
    settings = ViewSettings(size=24, crop_size=24, flip=0.0, crop=0.0, jitter=0.0)
    views = DeviceViews(settings, 24, mean=MEAN, std=STD, device=CPU)
    weak, strong = views(pixels, views.choose(0, 0, 4))
    assert torch.equal(weak, strong)
    weak.zero_()
    assert strong.abs().sum() > 0
    assert torch.equal(pixels, before)


def test_they_do_not_rest_on_products_of_less_than_float32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        host, device = both(ViewSettings(size=24, **MANY), 27)
        views = DeviceViews(ViewSettings(size=24), 27, mean=MEAN, std=STD, device=CPU)
    finally:
        torch.set_float32_matmul_precision(before)
    assert views._weak.weights.dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(host, device, strict=True))


def test_autocast_around_the_views_changes_nothing():
    settings = ViewSettings(size=24, **MANY)
    views = DeviceViews(settings, 27, mean=MEAN, std=STD, device=CPU)
    pixels, choices = torch.from_numpy(crops(8, 27)), views.choose(0, 0, 8)
    plain = views(pixels, choices)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, views(pixels, choices), strict=True))
