import pickle
from concurrent.futures import ThreadPoolExecutor

import dlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from owdfa.errors import UserError
from owdfa.images import faces
from owdfa.images.boxes import Box
from owdfa.images.decode import BadImageError
from owdfa.images.faces import (
    FACES,
    DlibDetector,
    NoDetector,
    check_faces,
    crop_face,
    crop_image,
    crop_pixels,
    crop_to_size,
)
from owdfa.images.phash import phash, thumb


def numbered(height, width):
    """An image whose pixel (y, x) is (y, x, 0)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, 0 * x], axis=2).astype(np.uint8)


def picture(seed=0, side=64):
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


class OneFace:
    """Finds what it is told."""

    def __init__(self, *boxes):
        self.boxes = list(boxes)

    def detect(self, rgb):
        return self.boxes


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((20, 30, 40, 60), (27, 63), (18, 42)),  # 20 x 30 becomes 24 x 36
        ((0, 0, 50, 50), (0, 55), (0, 55)),  # 60 x 60 from -5, clipped
        ((-10, 60, 10, 110), (55, 100), (0, 12)),
        ((60, 70, 90, 100), (67, 100), (57, 80)),
    ],
)
def test_box_is_enlarged_about_its_centre_and_clipped(box, rows, columns):
    crop = np.asarray(crop_face(Image.fromarray(numbered(100, 80)), Box(*box, 1.0)))
    assert (crop[0, 0, 0], crop[-1, 0, 0] + 1) == rows
    assert (crop[0, 0, 1], crop[0, -1, 1] + 1) == columns


def test_without_a_face_the_whole_image_is_the_crop():
    image = Image.fromarray(numbered(9, 8))
    assert crop_face(image, None) is image


@given(
    left=st.integers(-200, 200),
    top=st.integers(-200, 200),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
@settings(max_examples=100, deadline=None)
def test_a_crop_is_never_empty(left, top, width, height):
    image = Image.fromarray(numbered(20, 30))
    crop = crop_face(image, Box(left, top, left + width, top + height, 0.0))
    assert min(crop.size) >= 1


def test_crop_is_the_first_face_resized_to_a_square(tmp_path):
    path = tmp_path / "a.png"
    image = picture()
    Image.fromarray(image).save(path)
    first, second = Box(10, 20, 30, 30, 2.0), Box(0, 0, 5, 5, 1.0)
    crop = crop_image(Image.open(path), OneFace(first, second), 16)
    expected = Image.fromarray(image[19:31, 8:32]).resize((16, 16), Image.Resampling.BILINEAR)
    assert crop.face == first
    assert np.array_equal(crop.pixels, np.asarray(expected))
    assert np.array_equal(crop.thumb, thumb(Image.fromarray(image)))


def test_a_crop_of_the_right_size_keeps_its_pixels(tmp_path):
    Image.fromarray(picture(side=32)).save(tmp_path / "a.png")
    crop = crop_image(Image.open(tmp_path / "a.png"), NoDetector(), 32)
    assert crop.face is None
    assert np.array_equal(crop.pixels, picture(side=32))


@pytest.mark.parametrize(
    ("face", "rows", "columns"),
    [
        (None, (12, 28), (17, 33)),  # the middle
        (Box(20, 10, 30, 20, 1.0), (7, 23), (17, 33)),  # about the centre of the face
        (Box(-5, 30, 5, 40, 1.0), (24, 40), (0, 16)),  # moved inside
    ],
)
def test_native_crops_are_cut_out_and_not_resized(face, rows, columns):
    image = numbered(40, 50)
    found = crop_to_size(Image.fromarray(image), face, 16, "native")
    assert np.array_equal(found, image[slice(*rows), slice(*columns)])


def test_where_the_image_is_smaller_a_native_crop_is_mirrored_at_its_edges():
    image = numbered(5, 30)
    found = crop_to_size(Image.fromarray(image), None, 9, "native")
    rows = [1, 0, 0, 1, 2, 3, 4, 4, 3]
    assert np.array_equal(found, image[rows][:, 11:20])


@pytest.mark.parametrize("boxes", [(), [Box(5, 12, 31, 40, 1.0)]])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pixels_alone_are_those_of_the_crop(tmp_path, monkeypatch, boxes, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(path)
    monkeypatch.setattr(faces, "detector", lambda _: OneFace(*boxes))
    for size in (16, 64, 80):
        crop = crop_image(Image.open(path), OneFace(*boxes), size)
        assert np.array_equal(crop_pixels(path, "dlib", size), crop.pixels)
        crop = crop_image(Image.open(path), OneFace(*boxes), size, "native")
        assert np.array_equal(crop_pixels(path, "dlib", size, "native"), crop.pixels)


def crop_or_reason(path):
    try:
        return crop_pixels(path, "dlib", 16)
    except BadImageError as error:
        return error.reason


def test_threads_crop_at_the_same_time_and_bad_files_stay_bad(tmp_path):
    paths = []
    for i in range(12):
        path = tmp_path / f"{i}.png"
        Image.fromarray(picture(i)).save(path)
        if i % 3 == 1:  # cut off: Pillow fails; i % 3 == 2: a palette of which it only warns
            path.write_bytes(path.read_bytes()[:-30] + b"IEND")
        if i % 3 == 2:
            image = Image.fromarray(picture(i)).convert("P")
            image.save(path, transparency=b"\x00\x80")
        paths.append(path)
    alone = [crop_or_reason(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(crop_or_reason, paths))
    assert [isinstance(one, str) for one in alone].count(True) >= 4
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, str):
            assert other == one
        else:
            assert np.array_equal(other, one)


def test_dlib_finds_no_face_in_noise():
    noise = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    assert DlibDetector().detect(noise) == []


def test_a_thread_s_copy_of_dlib_s_detector_is_the_same_to_the_last_digit():
    with ThreadPoolExecutor(2) as pool:
        copies = list(pool.map(lambda _: DlibDetector()._detector, range(4)))
    assert len({id(one) for one in copies}) == 4
    unpacked = pickle.dumps(dlib.get_frontal_face_detector())
    assert all(pickle.dumps(one) == unpacked for one in copies)


def test_dlib_s_boxes_become_ours():
    class Rectangle:
        def __init__(self, *sides):
            self.sides = sides

        left, top, right, bottom = (lambda self, i=i: self.sides[i] for i in range(4))

    class Found:
        def run(self, rgb, upsample, threshold):
            assert (upsample, threshold) == (0, 0.0)
            return [Rectangle(-3, 4, 96, 103), Rectangle(0, 0, 79, 79)], [1.5, 0.25], [0, 0]

    detector = DlibDetector()
    detector._detector = Found()
    # dlib's right and bottom are the last pixels, ours the ones after.
    expected = [Box(-3, 4, 97, 104, 1.5), Box(0, 0, 80, 80, 0.25)]
    assert detector.detect(np.zeros((200, 200, 3), np.uint8)) == expected


def test_every_detector_finds_nothing_in_a_flat_image():
    for name in FACES:
        check_faces(name)
        assert faces.detector(name).detect(np.full((90, 90, 3), 128, np.uint8)) == []


def test_a_misspelt_detector_is_named():
    with pytest.raises(UserError, match="no face detector 'dlip'; did you mean 'dlib'"):
        check_faces("dlip")


def bits(first, second):
    return (int(first) ^ int(second)).bit_count()


def test_hash_is_the_recipe_s():
    thumbs = np.stack([thumb(Image.fromarray(picture(seed))) for seed in range(3)])
    for image, value in zip(thumbs.astype(float), phash(thumbs).tolist(), strict=True):
        table = np.zeros((8, 8))
        for u in range(8):
            for v in range(8):
                rows = np.cos(np.pi * (u + 1) * (2 * np.arange(32) + 1) / 64)
                columns = np.cos(np.pi * (v + 1) * (2 * np.arange(32) + 1) / 64)
                table[u, v] = (image * np.outer(rows, columns)).sum()
        above = (table > np.median(table)).ravel()
        assert [(value >> i) & 1 for i in range(64)] == above.tolist()


def test_hash_survives_compression_and_scaling_and_tells_pictures_apart(tmp_path):
    picture_0 = Image.fromarray(picture(0, side=128))
    picture_0.save(tmp_path / "a.jpg", quality=40)
    again = np.asarray(Image.open(tmp_path / "a.jpg"))
    smaller = np.asarray(picture_0.resize((70, 70)))
    images = [np.asarray(picture_0), again, smaller, picture(1, side=128)]
    original, compressed, scaled, other = phash(
        np.stack([thumb(Image.fromarray(image)) for image in images])
    )
    assert bits(original, compressed) <= 4
    assert bits(original, scaled) <= 4
    assert bits(original, other) > 16


def test_hash_does_not_depend_on_its_batch():
    thumbs = np.random.default_rng(0).integers(0, 256, (9, 32, 32), dtype=np.uint8)
    alone = np.concatenate([phash(thumbs[i : i + 1]) for i in range(9)])
    assert phash(thumbs).dtype == np.uint64
    assert np.array_equal(phash(thumbs), alone)


def test_flat_images_hash_to_zero():
    assert phash(np.full((1, 32, 32), 77, np.uint8)).tolist() == [0]
