"""Every kind of file that somebody may hand us: right pixels, or one clear reason."""

import os
import struct
import tempfile
import warnings
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from owdfa.errors import UserError
from owdfa.images import decode as decoding
from owdfa.images.decode import BadImageError, Header, decode, header


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth, and different at all its corners."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 8, columns * 7, rows * 0 + 40], axis=2).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


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


def refused(path: Path) -> str:
    """The reason, which must be the same from both functions and name the file in one line."""
    for function in (header, decode):
        with pytest.raises(BadImageError) as caught:
            function(path)
        assert str(caught.value) == f"{path}: {caught.value.reason}"
        assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)
    return str(caught.value.reason)


def png(width: int, height: int, kind: bytes, pixels: bytes, row: int) -> bytes:
    """A PNG file with this header and these rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + sum_

    rows = b"".join(b"\0" + pixels[at : at + row] for at in range(0, len(pixels), row))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">II", width, height) + kind)
    return start + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refused(tmp_path / "none.png")
    assert "File name too long" in refused(tmp_path / ("n" * 300 + ".png"))
    assert "null byte" in refused(tmp_path / "a\0b.png")
    assert refused(tmp_path) == "is not a regular file"
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert refused(empty) == "is empty"
    text = tmp_path / "text.jpg"
    text.write_text("not an image at all\n" * 20)
    assert "is not an image" in refused(text)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert refused(tmp_path / "pipe.png") == "is not a regular file"


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(picture()))

    def forbidden(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # root may read whatever its mode says
    assert refused(path) == "cannot be read (Permission denied)"


def test_formats_that_start_programs_are_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n")
    assert "is not an image" in refused(path)


@cache
def noise(suffix: str) -> bytes:
    stream = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    thumbnail = BytesIO()
    Image.fromarray(pixels[:16, :16]).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[0x9286] = thumbnail.getvalue()  # an end marker of its own, before the scan
    options = {} if suffix in ("gif", "bmp") else {"exif": exif}
    Image.fromarray(pixels).save(stream, suffix, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.2])
def test_truncated_files_are_known_by_their_header(
    tmp_path: Path, suffix: str, share: float
) -> None:
    content = noise(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    assert decode(path).shape == (64, 64, 3)
    path.write_bytes(content[: int(len(content) * share) - 3])
    refused(path)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["jpeg", "png", "webp", "tiff", "bmp"]), share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused_or_nothing_of_it_is_lost(kind: str, share: float) -> None:
    content = noise(kind)
    cut = content[: int(share * len(content))]
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole"), Path(folder, "part")
        whole.write_bytes(content)
        part.write_bytes(cut)
        try:
            pixels = decode(part)
        except BadImageError:
            return
        assert np.array_equal(pixels, decode(whole))


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_an_image_or_one_line(
    kind: str, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(noise(kind))
    for place, value in changes:  # mostly in the header, where most can go wrong
        content[int(place**3 * (len(content) - 1))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(content)
        for function in (header, decode):
            said = ""
            try:
                function(path)
            except BadImageError as error:
                said = str(error)
            assert "\n" not in said


@pytest.mark.parametrize("suffix", ["gif", "bmp", "tiff", "ppm"])
def test_truncated_files_of_other_formats_are_refused_when_decoded(
    tmp_path: Path, suffix: str
) -> None:
    stream = BytesIO()
    Image.fromarray(picture(64, 64)).save(stream, suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(stream.getvalue()[: stream.tell() // 2])
    with pytest.raises(BadImageError, match="a\\."):
        decode(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(noise("jpeg") + b"\0" * 5000)
    assert decode(path).shape == (64, 64, 3)


def test_damage_within_a_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(noise("png"))
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="is damaged"):
        decode(path)


def test_too_few_and_too_many_pixels(tmp_path: Path) -> None:
    assert "1 x 1 pixels are too few" in refused(save(tmp_path / "1.png", Image.new("L", (1, 1))))
    bomb = tmp_path / "bomb.png"  # 20,000 x 20,000 in a few kilobytes
    bomb.write_bytes(png(20000, 20000, b"\x08\x00\x00\x00\x00", bytes(1000), row=1000))
    assert f"more than {decoding.MAX_PIXELS:,}" in refused(bomb)


@pytest.mark.parametrize("side", [8193, 9500, 13000, 65000])
def test_every_size_above_the_cap_is_refused_without_being_decoded(
    tmp_path: Path, side: int
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(side, side, b"\x08\x02\x00\x00\x00", bytes(100), row=100))
    assert f"{decoding.MAX_PIXELS:,}" in refused(path)


def test_a_file_of_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as stream:
        stream.truncate(decoding.MAX_BYTES + 1)  # sparse: takes no room
    assert "bytes are more than" in refused(path)


def test_samples_without_a_known_white_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", Image.fromarray(np.ones((16, 16), dtype=np.float32)))
    with pytest.raises(BadImageError, match="32-bit samples"):
        decode(path)


def test_what_pillow_warns_of_is_refused(tmp_path: Path) -> None:
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries announced, none there
    path = save(tmp_path / "a.jpg", Image.fromarray(picture()), exif=cut)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever the caller has set
        assert "is damaged (Corrupt EXIF data" in refused(path)


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    save(path, Image.fromarray(picture()))
    assert np.array_equal(decode(path), picture())


def test_the_record_names_the_decoder() -> None:
    assert decoding.DECODER.startswith("Pillow ")
