"""B. Bad images are counted, listed and refused beyond what --max-bad allows."""

import os
import struct
import zlib

from PIL import Image

from command_line import done, refused
from owdfa.images.bad import read_bad


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
    listing = read_bad(output)
    assert len(listing) == len(SKIPPED)
    for _, reason in SKIPPED.values():
        assert reason in said
        assert any(reason in entry for entry in listing)


def test_predictions_name_what_they_leave_out(run, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    odd = photos / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((photos / "a" / "0.png").read_bytes())
    output = tmp_path / "p.parquet"
    line = refused("predict", run, photos, "-o", output)
    assert "1 of 42 images cannot be used" in line
    assert not output.exists()
    said = done("predict", run, photos, "-o", output, "--max-bad", 1)
    assert "41 images" in said
    assert "predicted type" in said
    assert "left out: broken.png: is not an image" in said
