"""The synthetic benchmark: its images carry traces, which its parts leave."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp

from lab_pixels import pixels_of
from owdfa.datasets.lab import LabSettings
from owdfa.datasets.lab.camera import Camera, draw_camera, encode, photograph
from owdfa.datasets.lab.decoder import decode, draw_decoder, ideal_filters, upsample
from owdfa.datasets.lab.filters import enlarge, mix_colours, resize, warp
from owdfa.datasets.lab.image import draw_image
from owdfa.datasets.lab.look import mean_spectrum, residual

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
