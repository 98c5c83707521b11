"""Which images a command means, and the crops that are made of files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owdfa.errors import UserError
from owdfa.images.decode import BadImageError
from owdfa.images.faces import crop_pixels
from owdfa.images.workers import threaded_map
from owdfa.inference.inputs import find_images, read_crop
from owdfa.inference.predictor import Predictor
from owdfa.records.provenance import Provenance

PROVENANCE = Provenance(
    method="supervised", backbone="tiny/trace8w16", seed=0, selection="last", split_digest=None,
    weights_digest="d1", precision="32-true", commit="c1", environment={},
)  # fmt: skip


def predictor(faces="none"):
    return Predictor(Path("run"), ("a",), 1, faces, 9, PROVENANCE, session=None)


def test_bad_files_are_named_by_their_position(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (12, 10), (i * 50, 0, 9)).save(path)
    paths[1].write_bytes(b"no image")
    paths[2].unlink()
    inputs = find_images(predictor(), paths, None)
    found = [inputs.read(range(first, min(first + 2, 5))) for first in (0, 2, 4)]
    assert [crops.positions.tolist() for crops in found] == [[0], [3], [4]]
    assert [sorted(crops.errors) for crops in found] == [[1], [2], []]
    assert "not an image" in found[0].errors[1]
    flat = np.zeros((1, 9, 9, 3), np.uint8) + np.array([150, 0, 9], np.uint8)
    assert np.array_equal(found[1].pixels, flat)


def test_files_that_are_all_bad_give_no_crops(tmp_path):
    crops = find_images(predictor(), [tmp_path / "no.png"], None).read(range(1))
    assert crops.pixels.shape == (0, 9, 9, 3)
    assert crops.positions.tolist() == []


def test_a_file_its_content_and_its_pixels_give_one_crop(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    for faces in ("none", "dlib"):
        expected = crop_pixels(path, faces, 9)
        for image in (path, str(path), path.read_bytes(), pixels):
            assert np.array_equal(read_crop(image, faces, 9), expected)
    for wrong in (pixels.astype(float), pixels[..., 0], pixels[:0], b"no image"):
        with pytest.raises(BadImageError, match=r"^image: "):
            read_crop(wrong, "none", 9)


def test_an_unknown_detector_is_refused(tmp_path):
    with pytest.raises(UserError, match="no face detector 'dlob'; did you mean 'dlib'"):
        find_images(predictor("dlob"), [tmp_path / "a.png"], None)


def test_work_in_threads_keeps_its_order_and_is_bounded():
    begun = []
    results = threaded_map(lambda item: begun.append(item) or -item, iter(range(100)), 3)
    assert begun == []  # nothing starts before it is asked for
    assert [next(results) for _ in range(4)] == [0, -1, -2, -3]
    assert len(begun) <= 4 + 6
    assert list(results) == [-item for item in range(4, 100)]


def test_an_error_in_a_thread_comes_out_and_ends_the_others():
    begun = []

    def work(item):
        begun.append(item)
        return 1 // (item - 3)

    with pytest.raises(ZeroDivisionError):
        list(threaded_map(work, range(1000), 2))
    assert len(begun) <= 9
