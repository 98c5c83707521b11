"""What a corruption does to an image is what it is called."""

from math import erf, sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from owdfa.images import corruptions
from owdfa.images.jpeg import jpeg_quality
from picture_files import picture

IMAGE = picture(48, 64)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: corruptions.scale(image, 1.0),
        lambda image: corruptions.down_up(image, 1.0),
        lambda image: corruptions.centre_crop(image, 1.0),
        lambda image: corruptions.blur(image, 0.0),
        lambda image: corruptions.noise(image, 0.0, seed=1),
        lambda image: corruptions.screenshot(image, 1.0, 1.0, 0.0),
        lambda image: corruptions.upload(image, ()),
    ],
)
def test_the_level_of_nothing_changes_nothing(change):
    assert_array_equal(change(IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda image: corruptions.jpeg(image, 50), (48, 64)),
        (lambda image: corruptions.webp(image, 50), (48, 64)),
        (lambda image: corruptions.scale(image, 0.5), (24, 32)),
        (lambda image: corruptions.scale(image, 0.001), (1, 1)),
        (lambda image: corruptions.down_up(image, 0.25), (48, 64)),
        (lambda image: corruptions.centre_crop(image, 0.75), (36, 48)),
        (lambda image: corruptions.blur(image, 2.0), (48, 64)),
        (lambda image: corruptions.noise(image, 5.0, seed=3), (48, 64)),
        (lambda image: corruptions.screenshot(image, 0.5, 1.1, 0.02), (24, 32)),
        (lambda image: corruptions.upload(image, ((0.5, 75), (1.0, 70))), (24, 32)),
    ],
)
def test_sizes_are_as_asked_the_input_stays_and_the_outcome_is_the_same_again(change, shape):
    given = IMAGE.copy()
    made = change(given)
    assert (made.dtype, made.shape) == (np.uint8, (*shape, 3))
    assert_array_equal(given, IMAGE)
    assert not np.shares_memory(made, given)
    assert_array_equal(change(given), made)


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
def test_a_jpeg_has_the_tables_of_its_quality(quality):
    assert jpeg_quality(corruptions.encode_jpeg(IMAGE, quality)) == quality


@pytest.mark.parametrize("change", [corruptions.jpeg, corruptions.webp])
def test_a_lower_quality_changes_more(change):
    draw = np.random.default_rng(0)
    rough = np.clip(IMAGE + draw.normal(0, 20, IMAGE.shape), 0, 255).astype(np.uint8)
    errors = [np.abs(change(rough, q).astype(int) - rough).mean() for q in (95, 70, 30)]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]


@pytest.mark.parametrize("sigma", [2.0, 10.0])
def test_noise_has_the_deviation_asked_for_and_no_mean(sigma):
    grey = np.full((200, 200, 3), 128, np.uint8)
    added = corruptions.noise(grey, sigma, seed=5).astype(float) - 128
    assert added.std() == pytest.approx(np.hypot(sigma, np.sqrt(1 / 12)), rel=0.01)
    assert abs(added.mean()) < 0.05 * sigma


def test_another_seed_is_other_noise():
    assert (corruptions.noise(IMAGE, 5.0, 1) != corruptions.noise(IMAGE, 5.0, 2)).any()


def test_a_blurred_edge_is_the_integral_of_the_gaussian():
    edge = np.zeros((20, 40, 3), np.uint8)
    edge[:, 20:] = 255
    expected = [127.5 * (1 + erf((x + 0.5) / (2 * sqrt(2)))) for x in range(-6, 6)]
    assert_allclose(corruptions.blur(edge, 2.0)[10, 14:26, 0], expected, atol=2.5)


def test_the_crop_is_about_the_centre():
    assert_array_equal(corruptions.centre_crop(IMAGE, 0.5), IMAGE[12:36, 16:48])


def test_a_screenshot_changes_grey_levels_by_gamma_and_warmth():
    grey = np.full((8, 8, 3), 128, np.uint8)
    made = corruptions.screenshot(grey, 1.0, 2.0, 0.1)
    level = 255 * (128 / 255) ** 2
    assert_array_equal(made[0, 0], np.rint([1.1 * level, level, 0.9 * level]))


def test_an_upload_of_two_steps_is_one_after_the_other():
    once = corruptions.jpeg(corruptions.scale(IMAGE, 0.5), 75)
    assert_array_equal(
        corruptions.upload(IMAGE, ((0.5, 75), (1.0, 70))), corruptions.jpeg(once, 70)
    )
