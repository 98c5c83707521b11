"""Every kind of image file that somebody may hand us: right pixels."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owdfa.images import decode as decoding
from owdfa.images.decode import Header, decode, header
from picture_files import picture, png, save


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(picture()))
    assert np.array_equal(decode(path), picture())
    assert header(path)[:2] == (32, 24)


@pytest.mark.parametrize(("suffix", "name"), [("jpg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF")])
def test_lossy_formats_come_close(tmp_path: Path, suffix: str, name: str) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(picture()), quality=95)
    assert np.abs(decode(path).astype(int) - picture()).mean() < 6
    assert header(path) == Header(32, 24, name)


def test_the_result_is_an_array_that_may_be_written_to(tmp_path: Path) -> None:
    pixels = decode(save(tmp_path / "a.png", Image.fromarray(picture())))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(decode(path), upright)
    assert header(path)[:2] == (stored.shape[1], stored.shape[0]), "the size as stored"


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled_to_the_nearest_of_256_levels(tmp_path: Path, suffix: str) -> None:
    levels = np.linspace(0, 65535, 24 * 32).round().astype(np.uint16).reshape(24, 32)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(levels))
    expected = np.round(levels / 257).astype(np.uint8)
    assert np.array_equal(decode(path), np.repeat(expected[:, :, None], 3, axis=2))


def test_16_bit_grey_netpbm(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 24 * 32).round().astype(">u2").reshape(24, 32)
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 32 24 65535\n" + levels.tobytes())
    assert np.array_equal(decode(path)[:, :, 1], np.round(levels / 257).astype(np.uint8))


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (24, 32, 3)).astype(">u2")
    path = tmp_path / "a.png"
    path.write_bytes(png(32, 24, b"\x10\x02\x00\x00\x00", levels.tobytes(), row=32 * 6))
    assert np.array_equal(decode(path), (levels >> 8).astype(np.uint8))


def test_grey_one_bit_and_palette_become_rgb(tmp_path: Path) -> None:
    grey = picture()[:, :, 0]
    assert np.array_equal(decode(save(tmp_path / "grey.png", Image.fromarray(grey)))[:, :, 2], grey)
    bits = Image.fromarray(grey > 90)
    assert set(np.unique(decode(save(tmp_path / "bits.png", bits)))) == {0, 255}
    palette = Image.fromarray(grey // 16)
    palette.putpalette([3 * n for n in range(48)])
    pixels = decode(save(tmp_path / "palette.png", palette.convert("P")))
    assert pixels.shape == (24, 32, 3)


def test_palette_colours_are_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert decode(save(tmp_path / "a.png", image))[5, 5].tolist() == [10, 200, 30]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # all cyan: no red
    red, green, blue = decode(save(tmp_path / "a.jpg", image, quality=100))[8, 8].tolist()
    assert red < 5
    assert min(green, blue) > 250


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[..., 0] = 200
    pixels[:, :8, 3] = 255  # left half opaque, right half: hidden red, to be white
    pixels[0, 0, 3] = 128
    result = decode(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert result[5, 2].tolist() == [200, 0, 0]
    assert result[5, 12].tolist() == [255, 255, 255]
    assert np.abs(result[0, 0].astype(int) - [227, 127, 127]).max() <= 1


def test_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([250, 0, 0, 0, 250, 0])
    image.putpixel((0, 0), 1)
    path = save(tmp_path / "a.png", image, transparency=0)
    assert decode(path)[5, 5].tolist() == [255, 255, 255]
    assert decode(path)[0, 0].tolist() == [0, 250, 0]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (16, 16), (0, 0, 255)), Image.new("RGB", (16, 16), (255, 0, 0))
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second], **options)
    assert decode(path)[8, 8].tolist() == [0, 0, 255]


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    save(path, Image.fromarray(picture()))
    assert np.array_equal(decode(path), picture())


def test_the_record_names_the_decoder() -> None:
    assert decoding.DECODER.startswith("Pillow ")
