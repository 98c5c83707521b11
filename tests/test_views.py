import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from owdfa.loading.pixels import resize
from owdfa.loading.views import PlainView, TrainingViews, ViewSettings, random_rows, sample_params

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = ("weak", "strong")
PAPER = {"flip": 0.5, "crop": 0.2, "jitter": 0.2}  # CAL's shares


def crops(count=6, side=27, seed=0):
    """Smooth random crops: noise would hide a shift of a pixel, flat ones anything."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    sides = [
        Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in coarse
    ]
    return np.stack([np.asarray(image) for image in sides])


def channels_first(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def uniform(count, seed=0, view=1):
    """What decides the strong view (or the weak one, 0) in the first epoch."""
    return random_rows((seed, 0, view), 0, count)


def levels(pixels, settings, seed=0, kinds=KINDS):
    """The views of crops, without normalisation: (B, H, W, 3) uint8 each."""
    views = TrainingViews(kinds, settings, seed)
    for view in views(pixels, 0, 0):
        assert view.dtype == torch.uint8
        yield view.permute(0, 2, 3, 1).numpy()


def normalised(images):
    """Normalise (B, 3, H, W) uint8: a product and a sum, each rounded to float32."""
    scale = torch.tensor([1 / (255 * s) for s in STD]).view(3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)]).view(3, 1, 1)
    return images.float() * scale + shift


def resized(image, side):
    return reference.resize(image, [side, side], antialias=True)


def reference_strong(pixels, params, i, size, crop_size):
    """The strong view of one image, with torchvision on a Pillow image as the release does it."""
    image = Image.fromarray(pixels[i])
    if params.flip[i]:
        image = reference.horizontal_flip(image)
    if params.crop[i]:
        image = reference.resized_crop(image, *params.box[i].tolist(), [crop_size, crop_size])
    else:
        image = resized(image, crop_size)
    if params.jitter[i]:
        brightness = lambda x: reference.adjust_brightness(x, float(params.brightness[i]))  # noqa: E731
        contrast = lambda x: reference.adjust_contrast(x, float(params.contrast[i]))  # noqa: E731
        both = (contrast, brightness) if params.contrast_first[i] else (brightness, contrast)
        for change in both:
            image = change(image)
    return np.asarray(resized(image, size))


@pytest.mark.parametrize(("side", "crop_size"), [(27, 27), (40, 27), (20, 24), (24, 30)])
def test_strong_view_is_the_release_s_image_by_image(side, crop_size):
    shares = ViewSettings(size=24, crop_size=crop_size, flip=0.5, crop=0.5, jitter=0.5)
    pixels = crops(24, side)
    params = sample_params(uniform(24), shares, side)
    assert 0 < params.crop.sum() < 24
    assert 0 < params.jitter.sum() < 24
    _, got = levels(pixels, shares)
    for i in range(24):
        expected = reference_strong(pixels, params, i, 24, crop_size)
        # torch and Pillow round their resizing weights differently: a level or two at most.
        difference = np.abs(got[i].astype(int) - expected.astype(int))
        assert difference.max() <= 2
        assert difference.mean() < 0.15


def test_jitter_and_flip_are_exactly_the_release_s():
    shares = ViewSettings(size=24, crop_size=24, flip=0.5, crop=0.0, jitter=1.0)
    pixels = crops(20, 24)
    params = sample_params(uniform(20), shares, 24)
    _, got = levels(pixels, shares)
    expected = [reference_strong(pixels, params, i, 24, 24) for i in range(20)]
    assert np.array_equal(got, np.stack(expected))


def test_weak_view_flips_and_resizes():
    pixels = crops(8, 27)
    params = sample_params(uniform(8, view=0), ViewSettings(size=24, flip=0.5), 27)
    assert 0 < params.flip.sum() < 8
    got, _ = levels(pixels, ViewSettings(size=24, flip=0.5))
    for i in range(8):
        image = channels_first(pixels)[i]
        expected = resized(image.flip(-1) if params.flip[i] else image, 24)
        assert np.array_equal(got[i], expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("side", "crop_size"), [(27, 27), (24, 24), (20, 24), (24, 30)])
def test_the_order_of_work_does_not_show(side, crop_size):
    """The views as the docstring has them, one operation after the other, flip first."""
    shares = ViewSettings(size=24, crop_size=crop_size, flip=0.5, crop=0.5, jitter=0.5)
    pixels = crops(24, side)
    weak, strong = levels(pixels, shares)
    params = [sample_params(uniform(24, view=view), shares, side) for view in (0, 1)]
    same = 0
    for i in range(24):
        flipped = [pixels[i, :, ::-1] if each.flip[i] else pixels[i] for each in params]
        expected = resize(flipped[0][None], 24)[0]
        assert np.array_equal(weak[i], expected)
        if params[1].jitter[i]:  # tested against the release's above
            continue
        top, left, height, width = params[1].box[i] if params[1].crop[i] else (0, 0, side, side)
        box = flipped[1][top : top + height, left : left + width]
        expected = resize(resize(box[None], crop_size), 24)[0]
        assert np.array_equal(strong[i], expected)
        same += np.array_equal(weak[i], strong[i])
    assert side != crop_size or same > 0  # so that sharing was tested


@given(side=st.integers(8, 400), size=st.integers(8, 300), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_mirrored_image_is_resized_to_the_mirrored_result(side, size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (1, 8, side, 3), dtype=np.uint8)
    assert np.array_equal(resize(image[:, :, ::-1], size), resize(image, size)[:, :, ::-1])


def test_views_leave_the_crops_as_they_are():
    pixels = crops(8, 24)
    before = pixels.copy()
    TrainingViews(KINDS, ViewSettings(size=24, crop_size=24, flip=0.5, crop=0.5, jitter=1.0), 0)(
        pixels, 0, 0
    )
    assert np.array_equal(pixels, before)


def test_plain_view_of_the_right_size_only_normalises():
    pixels = crops(3, 24)
    got = PlainView(24, MEAN, STD)(pixels)
    expected = (pixels.transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(
        STD, (3, 1, 1)
    )
    assert got.is_contiguous()
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


def test_plain_view_resizes_as_torchvision_and_takes_no_images():
    pixels = crops(3, 30)
    expected = normalised(resized(channels_first(pixels), 24))
    assert torch.equal(PlainView(24, MEAN, STD)(pixels), expected)
    assert PlainView(24, MEAN, STD)(pixels[:0]).shape == (0, 3, 24, 24)


@given(
    key=st.tuples(st.integers(0, 2**40), st.integers(0, 500), st.integers(0, 1)),
    first=st.integers(0, 10**9),
    start=st.integers(0, 6),
)
@settings(max_examples=30, deadline=None)
def test_random_numbers_depend_on_the_position_not_on_the_batch(key, first, start):
    whole = random_rows(key, first, 8)
    assert np.array_equal(random_rows(key, first + start, 8 - start), whole[start:])
    assert (whole >= 0).all()
    assert (whole < 1).all()


def test_streams_of_seeds_epochs_and_views_differ():
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    firsts = {random_rows(key, 0, 1)[0, 0] for key in keys} | {random_rows((0, 0, 0), 1, 1)[0, 0]}
    assert len(firsts) == 5


def test_a_view_of_an_image_does_not_depend_on_its_batch():
    pixels = crops(7, 27)
    views = TrainingViews(KINDS, ViewSettings(size=24, flip=0.5, crop=0.5, jitter=0.5), seed=3)
    whole = views(pixels, 2, 100)
    for i in range(7):
        alone = views(pixels[i : i + 1], 2, 100 + i)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, whole, strict=True))


def test_views_do_not_depend_on_the_number_of_threads():
    pixels = crops(20, 146)
    views = TrainingViews(KINDS, ViewSettings(size=128, flip=0.5, crop=0.5, jitter=0.5), seed=3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = views(pixels, 0, 0)
        torch.set_num_threads(3)
        three = views(pixels, 0, 0)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_shares_are_those_of_the_settings():
    params = sample_params(uniform(20_000), ViewSettings(size=256, **PAPER), 292)
    for drawn, share in ((params.flip, 0.5), (params.crop, 0.2), (params.jitter, 0.2)):
        assert abs(drawn.mean() - share) < 4 * np.sqrt(share * (1 - share) / 20_000)
    assert abs(params.contrast_first.mean() - 0.5) < 0.015
    for factor in (params.brightness, params.contrast):
        assert 0.6 <= factor.min() < 0.601
        assert 1.399 < factor.max() <= np.float32(1.4)
    together = (params.crop & params.jitter).mean()
    assert abs(together - 0.04) < 0.006


def test_random_boxes_lie_in_the_image_and_have_the_areas_asked_for():
    params = sample_params(uniform(5_000), ViewSettings(size=256, **PAPER), 292)
    top, left, height, width = params.box.T
    assert (params.box[:, :2] >= 0).all()
    assert (top + height <= 292).all()
    assert (left + width <= 292).all()
    area = height * width / 292**2
    assert 0.49 < area.min() < 0.52
    assert 0.95 < area.max() <= 1.0
    assert 0.74 < (width / height).min() < 0.78
    assert 1.29 < (width / height).max() < 1.35


def test_a_box_that_never_fits_becomes_the_whole_image():
    never = np.ones((1, 28)) * 0.999  # area of the image, ratio 4:3: wider than it
    whole = sample_params(never, ViewSettings(size=100, crop_scale=(1.0, 1.0)), 100)
    assert whole.box.tolist() == [[0, 0, 100, 100]]


def test_the_strong_view_has_the_size_before_its_last_resize_only_where_one_is_named():
    pixels = crops(4, 80)
    shares = {"size": 64, "flip": 0.5, "crop": 0.5}
    default, same, larger = (
        list(levels(pixels, ViewSettings(crop_size=crop_size, **shares)))
        for crop_size in (None, 64, 73)
    )
    assert all(np.array_equal(a, b) for a, b in zip(default, same, strict=True))
    assert np.array_equal(default[0], larger[0])
    assert not np.array_equal(default[1], larger[1])


def test_by_default_nothing_is_augmented():
    pixels = crops(6, 27)
    plain = PlainView(24, MEAN, STD)(pixels)
    for view in TrainingViews(KINDS, ViewSettings(size=24), 0)(pixels, 0, 0):
        assert torch.equal(normalised(view), plain)


@pytest.mark.parametrize("kinds", [("weak",), ("strong",), ("strong",) * 2, ("strong", "weak") * 2])
def test_a_method_is_given_the_views_that_it_names(kinds):
    """Each kind in its place, and each made of random numbers of its own."""
    pixels, shares = crops(24, 27), ViewSettings(size=24, crop=0.9, jitter=0.9, flip=0.5)
    found = list(levels(pixels, shares, kinds=kinds))
    assert len(found) == len(kinds)
    for place, (kind, view) in enumerate(zip(kinds, found, strict=True)):
        stream = place if place < 2 else place + 1  # the third is that of the order of images
        params = sample_params(uniform(24, view=stream), shares, 27)
        flipped = np.stack(
            [image[:, ::-1] if f else image for image, f in zip(pixels, params.flip, strict=True)]
        )
        unchanged = np.array_equal(view, resize(flipped, 24))
        assert unchanged == (kind == "weak")
    assert len({view.tobytes() for view in found}) == len(kinds)
