"""The synthetic benchmark: what it draws is a function of its settings, and carries traces."""

import errno
import io
import json
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp

from owdfa import catalog
from owdfa.config import fill
from owdfa.datasets import lab
from owdfa.datasets.lab import LabSettings, draw, read
from owdfa.datasets.lab.camera import Camera, draw_camera, encode, photograph
from owdfa.datasets.lab.decoder import decode, draw_decoder, ideal_filters, upsample
from owdfa.datasets.lab.filters import enlarge, mix_colours, resize, warp
from owdfa.datasets.lab.image import draw_image
from owdfa.datasets.lab.look import contact_sheet, mean_spectrum, residual
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


def pixels_of(content: bytes) -> np.ndarray:
    """(3, H, W) float32 in grey levels of 255."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image, np.float32).transpose(2, 0, 1)


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
        fill(LabSettings, table, "--set")


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
    listings = list(read(str(drawn)))
    assert len(listings) == NUM_TINY == len({listing.id for listing in listings})
    assert Counter(listing.class_ for listing in listings) == class_sizes(TINY)
    for listing in listings:
        assert listing.path == drawn / listing.id
        assert listing.path.is_absolute()
        assert listing.class_ is not None
        assert listing.family == parse_class(listing.class_)[0]
        assert listing.id.startswith(f"{listing.class_}/{listing.group}_")
        assert listing.source == "lab"
    frames = Counter((listing.class_, listing.group) for listing in listings)
    assert max(frames.values()) == TINY.frames_per_identity
    groups = {listing.group for listing in listings if listing.class_ == "real"}
    assert groups == {listing.group for listing in listings if listing.class_ == "swap-1"}


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


# Traces

SHOWN = ("real", "swap-1", "reenact-2", "edit-1", "generate-1", "generate-2")


@pytest.fixture(scope="module")
def shown() -> dict[str, list[bytes]]:
    """Forty images of each of six classes at the default strength."""
    chosen = LabSettings(size=64, frames_per_identity=1)
    return {class_: [draw_image(chosen, class_, i) for i in range(40)] for class_ in SHOWN}


def test_format_says_nothing_about_the_class(shown):
    """Every class has JPEGs of one size, with qualities and subsamplings from one distribution."""
    tables, halved = {}, {}
    for class_, contents in shown.items():
        images = [Image.open(io.BytesIO(content)) for content in contents]
        assert {(i.format, i.mode, i.size, "exif" in i.info) for i in images} == {
            ("JPEG", "RGB", (64, 64), False)
        }
        tables[class_] = [sum(image.quantization[0]) for image in images]
        halved[class_] = sum(image.layer[0][1] == 2 for image in images)
        assert len(set(tables[class_])) > 10
    for class_ in SHOWN[1:]:
        assert ks_2samp(tables["real"], tables[class_]).pvalue > 0.01
    assert all(8 < count < 32 for count in halved.values())


def test_methods_leave_their_own_traces(shown):
    """The mean residual of ten unseen images is nearest to that of their own method's others."""
    residuals = {
        class_: np.stack([np.clip(residual(pixels_of(c)), -5, 5).ravel() for c in contents])
        for class_, contents in shown.items()
    }
    common = np.mean([some[:20].mean(axis=0) for some in residuals.values()], axis=0)
    prints = np.stack([some[:20].mean(axis=0) - common for some in residuals.values()])
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    hits = 0
    for number, some in enumerate(residuals.values()):
        for start in (20, 30):
            unseen = some[start : start + 10].mean(axis=0) - common
            hits += int(np.argmax(prints @ unseen) == number)
    assert hits >= 9  # of 12; two are expected by chance


def test_spectra_of_generators_have_peaks_of_their_own(shown):
    def peaks(class_):
        """The strongest places of the spectrum against that of real images."""
        spectrum = mean_spectrum(map(pixels_of, shown[class_])) - real
        return set(np.argsort(spectrum.ravel())[-12:].tolist())

    real = mean_spectrum(map(pixels_of, shown["real"]))
    one, other = peaks("generate-1"), peaks("generate-2")
    assert len(one & other) < 6
    half = mean_spectrum(map(pixels_of, shown["generate-1"][::2])) - real
    assert len(one & set(np.argsort(half.ravel())[-12:].tolist())) >= 6


def test_traces_are_hardly_visible():
    """Strength 1 differs from strength 0 by little, and more strength by more."""
    images = {
        strength: pixels_of(
            draw_image(
                LabSettings(size=64, trace_strength=strength, jpeg_quality=(98, 98)),
                "generate-2",
                3,
            )
        )
        for strength in (0.0, 1.0, 3.0)
    }
    error = {s: np.sqrt(np.mean((images[s] - images[0.0]) ** 2)) for s in (1.0, 3.0)}
    assert 1.0 < error[1.0] < 8.0
    assert error[3.0] > 1.5 * error[1.0]


# The parts


@pytest.fixture
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0.2, 0.8, (3, 24, 20)).astype(np.float32)
    return np.ascontiguousarray(noise)


def test_upsample_is_four_filters(picture):
    filters = np.random.default_rng(1).normal(size=(2, 2, 3, 3))
    fine = upsample(picture, filters)
    assert fine.shape == (3, 48, 40)
    padded = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for c, y, x in [(0, 0, 0), (1, 5, 8), (2, 47, 39), (0, 30, 13), (2, 13, 30)]:
        expected = 0.0
        for dy in range(3):
            for dx in range(3):
                expected += filters[y % 2, x % 2, dy, dx] * padded[c, y // 2 + dy, x // 2 + dx]
        assert fine[c, y, x] == pytest.approx(expected, rel=1e-4)


def test_ideal_filters_keep_a_ramp():
    ramp = np.arange(8, dtype=np.float32) * np.ones((3, 8, 1), np.float32)
    fine = upsample(ramp, ideal_filters())
    np.testing.assert_allclose(fine[0, 0, 2:-2], np.arange(2, 14) / 2 - 0.25, rtol=1e-6)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_decoder_of_strength_zero_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, 1, (3, 16, 24)).astype(np.float32)
    decoder = draw_decoder(rng)
    np.testing.assert_allclose(decode(pixels, decoder, 0.0, rng), pixels, atol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_pattern_on_an_even_area_is_faint(seed):
    """Between 0.5 and 5 grey levels, whatever the method; brightness and grey stay."""
    rng = np.random.default_rng(seed)
    grey = np.full((3, 64, 64), 0.5, np.float32)
    decoded = decode(grey, draw_decoder(rng), 1.0, rng) * 255.0
    assert 0.5 < decoded.std() < 5.0
    assert decoded.mean(axis=(1, 2)) == pytest.approx([127.5] * 3, abs=1.0)


def test_warp_by_nothing_is_nothing(picture):
    rows, columns = np.indices(picture.shape[1:], dtype=np.float32)
    np.testing.assert_allclose(warp(picture, rows, columns, (0.0, 0.5)), picture, atol=1e-6)
    np.testing.assert_allclose(enlarge(picture, 24, 20, (0.0, 0.3)), picture, atol=1e-6)
    assert resize(picture, 24, 20) is picture


@given(b=st.floats(0, 1), c=st.floats(0, 1), shift=st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_kernels_keep_an_even_area(b, c, shift):
    even = np.full((3, 9, 9), 0.25, np.float32)
    rows, columns = np.indices((9, 9), dtype=np.float32)
    np.testing.assert_allclose(warp(even, rows + shift, columns - shift, (b, c)), 0.25, rtol=1e-4)
    np.testing.assert_allclose(enlarge(even, 11, 13, (b, c)), 0.25, rtol=1e-4)


def test_warp_moves_by_whole_pixels(picture):
    rows, columns = np.indices(picture.shape[1:], dtype=np.float32)
    moved = warp(picture, rows + 2, columns - 1, (0.0, 0.5))
    np.testing.assert_allclose(moved[:, :-2, 1:], picture[:, 2:, :-1], atol=1e-6)


def test_mixture_of_colours(picture):
    matrix = np.array([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
    expected = np.einsum("oc,chw->ohw", matrix, picture)
    np.testing.assert_allclose(mix_colours(picture, matrix), expected, atol=1e-6)


def test_camera_keeps_an_even_grey_and_adds_its_noise():
    grey = np.full((3, 64, 64), 0.5, np.float32)
    rng = np.random.default_rng(0)
    quiet = Camera(lens_blur=0.6, read_noise=0.0, shot_noise=0.0, denoising=0.3, sharpening=0.5)
    np.testing.assert_allclose(photograph(grey, quiet, rng), 0.5, atol=1e-6)
    noise = (photograph(grey, draw_camera(rng), rng) - 0.5) * 255.0
    assert 0.5 < noise.std() < 4.0
    reds, greens = noise[0].ravel(), noise[1].ravel()
    assert np.corrcoef(reds, greens)[0, 1] > 0.2  # colours are filled in from each other


def test_encoder_draws_from_the_range():
    grey = np.full((3, 16, 16), 0.5, np.float32)
    rng = np.random.default_rng(0)
    tables = set()
    for _ in range(40):
        with Image.open(io.BytesIO(encode(grey, (90, 92), rng))) as image:
            tables.add(sum(image.quantization[0]))
    assert len(tables) == 3
