"""Every kind of bad file that somebody may hand us: one clear reason."""

import os
import tempfile
import warnings
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
from owdfa.images.decode import BadImageError, decode, header
from picture_files import picture, png, save


def refused(path: Path) -> str:
    """The reason, which must be the same from both functions and name the file in one line."""
    for function in (header, decode):
        with pytest.raises(BadImageError) as caught:
            function(path)
        assert str(caught.value) == f"{path}: {caught.value.reason}"
        assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)
    return str(caught.value.reason)


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


def test_what_pillow_warns_of_is_noted_whatever_the_caller_has_set(tmp_path: Path) -> None:
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries announced, none there
    path = save(tmp_path / "a.jpg", Image.fromarray(picture()), exif=cut)
    for action in ("ignore", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            assert "left aside (Corrupt EXIF data" in str(header(path).note)
            assert decode(path).shape == picture().shape
