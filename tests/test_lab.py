"""The synthetic benchmark: what it draws is a function of its settings, and goes into a folder."""

import errno
import json
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lab_pixels import pixels_of
from owdfa import catalog
from owdfa.config import parse_settings
from owdfa.datasets import lab
from owdfa.datasets.lab import LabSettings, draw, read
from owdfa.datasets.lab.image import draw_image
from owdfa.datasets.lab.look import contact_sheet
from owdfa.datasets.lab.people import draw_frame, draw_person
from owdfa.datasets.lab.settings import FAMILIES, class_names, class_sizes, parse_class
from owdfa.errors import UserError

TINY = LabSettings(
    methods_per_family=1, images_per_method=3, real_images=4, size=32, frames_per_identity=2, seed=5
)
NUM_TINY = 4 + 4 * 3


def digests(folder: Path) -> dict[str, bytes]:
    """Content by path of every image below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("*/*"))}


# What is drawn


def test_default_has_thirteen_classes():
    sizes = class_sizes(LabSettings())
    assert list(sizes) == [
        "real",
        *(f"{f}-{n}" for f in ("swap", "reenact", "edit", "generate") for n in (1, 2, 3)),
    ]
    assert sizes.pop("real") == 600
    assert set(sizes.values()) == {300}


@given(
    methods=st.integers(1, 8),
    images=st.integers(1, 500),
    imbalance=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=50, deadline=None)
def test_sizes_fall_geometrically(methods, images, imbalance, seed):
    chosen = LabSettings(
        methods_per_family=methods, images_per_method=images, imbalance=imbalance, seed=seed
    )
    sizes = class_sizes(chosen)
    assert sizes.pop("real") == chosen.real_images
    last = len(sizes) - 1
    expected = [max(1, round(images * imbalance ** (k / last))) for k in range(last + 1)]
    assert sorted(sizes.values(), reverse=True) == pytest.approx(expected, abs=1)
    assert max(sizes.values()) == images


def test_seed_chooses_which_class_is_rare():
    rarest = set()
    for seed in range(8):
        sizes = class_sizes(LabSettings(imbalance=0.1, seed=seed))
        rarest.add(min(sizes, key=sizes.__getitem__))
    assert len(rarest) > 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"jpeg_quality": [90, 80]}, "the least comes first"),
        ({"imbalance": 0.0}, "imbalance"),
        ({"image_per_method": 3}, "did you mean"),
        ({"size": 8}, "size"),
    ],
)
def test_bad_setting_is_named(table, message):
    with pytest.raises(UserError, match=message):
        parse_settings(LabSettings, table, "--set")


@pytest.mark.parametrize("class_", class_names(TINY))
def test_image_is_a_function_of_seed_class_and_number(class_):
    """Neither the order, nor what else is drawn, nor how much, changes a byte."""
    first = [draw_image(TINY, class_, index) for index in range(3)]
    more = TINY.model_copy(
        update={
            "images_per_method": 50,
            "real_images": 99,
            "methods_per_family": 7,
            "imbalance": 0.5,
        }
    )
    for index in (2, 0, 1):
        draw_image(TINY, "swap-1", index + 10)
        assert draw_image(more, class_, index) == first[index]
    assert len(set(first)) == 3
    assert draw_image(TINY.model_copy(update={"seed": 6}), class_, 0) != first[0]


@pytest.mark.parametrize("size", [32, 33, 96])
@pytest.mark.parametrize("strength", [0.0, 10.0])
@pytest.mark.parametrize("class_", ["swap-2", "reenact-2", "edit-2", "generate-2"])
def test_any_size_and_strength_gives_an_image(size, strength, class_):
    chosen = LabSettings(size=size, trace_strength=strength)
    pixels = pixels_of(draw_image(chosen, class_, 0))
    assert pixels.shape == (3, size, size)
    assert pixels.std() > 5.0


def test_person_stays_and_frame_changes():
    one, same, other = (draw_person(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.texture, same.texture)
    assert one.width == same.width
    assert one.width != other.width
    rng = np.random.default_rng(0)
    assert draw_frame(rng).yaw != draw_frame(rng).yaw


@pytest.mark.parametrize(
    ("class_", "colour", "spread", "detail"),
    [
        ("real", (109.63, 95.83, 73.72), 29.40, 3.426),
        ("swap-1", (131.89, 112.13, 86.11), 36.57, 3.092),
        ("reenact-1", (119.52, 105.33, 80.54), 29.99, 2.672),
        ("edit-1", (105.16, 98.40, 77.09), 27.65, 2.713),
        ("generate-1", (107.31, 92.23, 71.41), 31.11, 2.701),
    ],
)
def test_benchmark_is_still_the_one_that_was_fixed(class_, colour, spread, detail):
    """Recorded at the defaults; the tolerance allows for other JPEG encoders, not other images."""
    pixels = pixels_of(draw_image(LabSettings(), class_, 7)).astype(np.float64)
    assert pixels.mean(axis=(1, 2)) == pytest.approx(colour, abs=0.3)
    assert pixels.std() == pytest.approx(spread, abs=0.2)
    assert np.abs(np.diff(pixels, axis=2)).mean() == pytest.approx(detail, rel=0.02)


# The folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "drawn"
    draw(folder, TINY, jobs=1)
    return folder


def test_two_processes_draw_the_same_bytes(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("owdfa.datasets.lab.drawing._CHUNK", 5)
    seen = []
    draw(tmp_path / "b", TINY, jobs=2, on_progress=lambda done, total: seen.append((done, total)))
    assert digests(tmp_path / "b") == digests(drawn)
    assert seen == sorted(seen)
    assert seen[0] == (0, NUM_TINY)
    assert seen[-1] == (NUM_TINY, NUM_TINY)


def test_listing(drawn):
    entries = list(read(str(drawn)))
    assert len(entries) == NUM_TINY == len({entry.id for entry in entries})
    assert Counter(entry.class_ for entry in entries) == class_sizes(TINY)
    for entry in entries:
        assert entry.path == drawn / entry.id
        assert entry.path.is_absolute()
        assert entry.class_ is not None
        assert entry.family == parse_class(entry.class_)[0]
        assert entry.id.startswith(f"{entry.class_}/{entry.group}_")
        assert entry.source == "lab"
    frames = Counter((entry.class_, entry.group) for entry in entries)
    assert max(frames.values()) == TINY.frames_per_identity
    groups = {entry.group for entry in entries if entry.class_ == "real"}
    assert groups == {entry.group for entry in entries if entry.class_ == "swap-1"}


def test_nothing_but_images_and_note(drawn):
    assert sorted(p.name for p in drawn.iterdir()) == sorted([*class_names(TINY), "lab.json"])
    assert json.loads((drawn / "lab.json").read_text())["settings"]["seed"] == 5
    assert {p.suffix for p in drawn.glob("*/*")} == {".jpg"}


def test_drawing_goes_on_where_it_was_stopped(drawn, tmp_path):
    draw(tmp_path / "a", TINY, jobs=1)
    lost = sorted((tmp_path / "a").glob("*/*"))[3:6]
    lost[0].write_bytes(b"")
    for path in lost[1:]:
        path.unlink()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").glob("*/*") if p != lost[0]}
    with pytest.raises(UserError, match=r"is missing, as are 2 more.*owdfa data draw"):
        list(read(str(tmp_path / "a")))
    seen = []
    draw(tmp_path / "a", TINY, jobs=1, on_progress=lambda done, _: seen.append(done))
    assert seen == [NUM_TINY - 3, NUM_TINY]
    assert digests(tmp_path / "a") == digests(drawn)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_other_settings_are_refused(drawn):
    other = TINY.model_copy(update={"trace_strength": 2.0, "seed": 9})
    with pytest.raises(
        UserError, match=r"trace_strength is 1.0 there, not 2.0; seed is 5"
    ) as caught:
        draw(drawn, other)
    assert "\n" not in str(caught.value)


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="choose an empty folder"):
        draw(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_reading_what_was_never_drawn(tmp_path):
    with pytest.raises(UserError, match=r"no lab\.json; draw it first: owdfa data draw"):
        list(read(str(tmp_path)))


@pytest.mark.parametrize("note", ["[]", '{"schema": "owdfa/lab/0"}', "{"])
def test_strange_note(tmp_path, note):
    (tmp_path / "lab.json").write_text(note)
    with pytest.raises(UserError, match=r"lab\.json"):
        list(read(str(tmp_path)))


def test_note_without_settings(tmp_path):
    (tmp_path / "lab.json").write_text('{"schema": "owdfa/lab/1", "settings": {"sise": 3}}')
    with pytest.raises(UserError, match="did you mean 'size'"):
        list(read(str(tmp_path)))


def test_full_disk_leaves_no_part(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        draw(tmp_path / "a", TINY, jobs=1)
    assert not list((tmp_path / "a").glob("*/*"))


def test_contact_sheet(drawn, tmp_path):
    contact_sheet(drawn, tmp_path / "sheet.png", num_examples=2, num_images=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == ((2 + 2 + 2) * 32, 5 * 32)


def test_catalogue_and_protocol():
    import tomllib

    assert "lab" in catalog.names("datasets")
    assert catalog.load("datasets", "lab") is lab
    assert "synthetic" in lab.DESCRIPTION
    assert lab.PROTOCOL == "lab/p1"
    protocol = tomllib.loads(catalog.text("protocols", "lab"))["p1"]

    def known(classes):
        return [c for c in classes if any(fnmatch(c, pattern) for pattern in protocol["known"])]

    classes = class_names(LabSettings())
    assert len(known(classes)) == 7
    assert len({parse_class(c)[0] for c in set(classes) - set(known(classes))}) == len(FAMILIES)
    many = class_names(LabSettings(methods_per_family=21))
    assert known(many) == known(classes)
