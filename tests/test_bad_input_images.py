"""Bad images, lists and folders through the command line: one line, and nothing half-written."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from command_line import done, make_photos, refused


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path)


def png_of(width, height):
    """A few bytes that say they are an image of that size: what a decompression bomb is."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def write(content):
    return lambda path: path.write_bytes(content)


def truncated(path):
    Image.new("RGB", (40, 40)).save(path)
    path.write_bytes(path.read_bytes()[:-20])


SKIPPED = {
    "empty.png": (write(b""), "is empty"),
    "text.jpg": (write(b"hello"), "is not an image"),
    "cut.png": (truncated, "is truncated"),
    "dot.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "1 x 1 pixels are too few"),
    "huge.png": (write(png_of(20_000, 20_000)), "pixels"),
    "bomb.png": (write(png_of(2**31 - 1, 2**31 - 1)), "pixels"),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "cannot be read (No such file"),
    "loop.png": (lambda path: path.symlink_to(path.name), "cannot be read (Too many levels"),
    os.fsdecode(b"caf\xe9.png"): (write(b"x"), "its name is not UTF-8"),
}


def test_bad_images_are_listed_and_counted_below_max_bad(photos, tmp_path):
    for name, (make, _) in SKIPPED.items():
        make(photos / "a" / name)
    output = tmp_path / "images.parquet"
    line = refused("data", "scan", photos, "-o", output)
    assert f"{len(SKIPPED)} of {40 + len(SKIPPED)} files cannot be used" in line
    assert "--max-bad" in line
    assert not output.exists()
    said = done("data", "scan", photos, "-o", output, "--max-bad", 20)
    assert f"{len(SKIPPED)} bad" in said
    listing = (tmp_path / "images.parquet.bad.txt").read_text().splitlines()
    assert len(listing) == len(SKIPPED)
    for _, reason in SKIPPED.values():
        assert reason in said
        assert any(reason in entry for entry in listing)


def test_odd_images_are_used(photos, tmp_path):
    draw = np.random.default_rng(1)
    grey = draw.integers(0, 65536, (12, 12), dtype=np.uint16)
    Image.fromarray(grey).save(photos / "a" / "sixteen.png")
    Image.new("CMYK", (12, 12), (9, 8, 7, 6)).save(photos / "a" / "cmyk.jpg")
    Image.new("P", (12, 12)).save(photos / "a" / "palette.png")
    Image.new("RGBA", (12, 12), (1, 2, 3, 4)).save(photos / "a" / "transparent.png")
    Image.new("L", (12, 12)).save(photos / "a" / ("n" * 251 + ".png"))
    manifest, store = tmp_path / "images.parquet", tmp_path / "store"
    assert "45 images, 2 classes, 0 bad" in done("data", "scan", photos, "-o", manifest)
    assert "45 crops" in done("data", "prepare", manifest, "-o", store, "--size", 8, "--jobs", 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,klass", "1.png,a"], "unknown column 'klass'"),
        (["path", "1.png"], "has no column 'class'"),
        (["path,class", "1.png,a", "1.png,b"], "lines 2 and 3 name the same file"),
        (["path,class"], "no images there"),
    ],
)
def test_lists_that_are_refused(tmp_path, lines, message):
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    line = refused("data", "scan", f"csv:{tmp_path / 'list.csv'}", "-o", tmp_path / "out.parquet")
    assert message in line
    assert "list.csv" in line
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_folders_that_are_refused(photos, tmp_path):
    output = tmp_path / "images.parquet"
    assert "no such folder" in refused("data", "scan", tmp_path / "nowhere", "-o", output)
    assert "did you mean 'folder'" in refused("data", "scan", "foldr:x", "-o", output)
    (photos / "c").mkdir()
    assert "a class folder without images" in refused("data", "scan", photos, "-o", output)
    assert not output.exists()
