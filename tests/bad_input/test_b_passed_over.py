"""B. What is an image is decided by content; whatever is passed over is counted and listed."""

import importlib
import os

import numpy as np
import pytest
from PIL import Image

from command_line import done, refused
from owdfa.images.bad import read_bad
from owdfa.images.formats import SUFFIXES, why_no_image
from owdfa.inference.lists import name_files
from owdfa.records.manifest import Manifest
from owdfa.signatures import identify

ODD_NAMES = ("photo", "x.jpg_large", "y.png.1", "z.JFIF", "w.png_orig", "v.jpeg?w=100", "u.txt")
PLUGINS = {"c.heic": "pillow_heif", "d.HEIC": "pillow_heif", "e.jxl": "pillow_jxl"}
DOCUMENTS = {
    "README.md": ("text", b"# Photos\n"),
    "labels.csv": ("text", b"path,class\n"),
    "meta.json": ("JSON", b'{"a": 1}'),
    "page.html": ("an HTML page", b"<!DOCTYPE html>\n<html></html>"),
    "video.mp4": ("a video", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2"),
    "all.zip": ("a ZIP archive", b"PK\x03\x04rest"),
    "paper.pdf": ("PDF", b"%PDF-1.7"),
    "features.npy": ("NumPy data", b"\x93NUMPY\1\0"),
    "logo.svg": None,
    "_SUCCESS": ("empty", b""),
}


def an_image(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def heic(path):
    plugin = pytest.importorskip("pillow_heif")
    plugin.from_pillow(Image.new("RGB", (64, 48), (200, 30, 60))).save(path, quality=90)


def jxl(path):
    plugin = pytest.importorskip("pillow_jxl")
    encoder = plugin.Encoder(mode="RGB", lossless=True)
    path.write_bytes(encoder(bytes([200, 30, 60] * 64 * 48), 64, 48, jpeg_encode=False))


WRITERS = {"c.heic": heic, "d.HEIC": heic, "e.jxl": jxl}


@pytest.fixture
def without_plugins(monkeypatch):
    def missing(name):
        if name.startswith(("pillow_heif", "pillow_jxl")):
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr("owdfa.images.formats.import_module", missing)


def test_images_without_a_suffix_that_says_so_are_scanned_and_predicted(photos, run, tmp_path):
    for seed, name in enumerate(ODD_NAMES):
        an_image(photos / "a" / name, seed)
        an_image(photos / name, 100 + seed)
    manifest, output = tmp_path / "images.parquet", tmp_path / "p.parquet"
    num = 40 + 2 * len(ODD_NAMES)
    assert f"{num} images, 2 classes, 0 bad" in done("data", "scan", photos, "-o", manifest)
    assert f"{num} images" in done("predict", run, photos, "-o", output)
    table = Manifest.read(manifest).table
    loose = {row["id"] for row in table.to_pylist() if row["class"] is None}
    assert loose == set(ODD_NAMES)
    assert not read_bad(manifest)
    assert not read_bad(output)


@pytest.mark.parametrize("place", ["", "a"])
def test_what_is_no_image_is_counted_and_listed(photos, run, tmp_path, place):
    documents = {name: given for name, given in DOCUMENTS.items() if given}
    for name, (_, content) in documents.items():
        (photos / place / name).write_bytes(content)
    for number, args in enumerate((("data", "scan", photos), ("predict", run, photos))):
        output = tmp_path / f"{number}.parquet"
        said = done(*args, "-o", output)
        assert "40 images" in said
        assert f"{len(documents)} passed over" in said
        listed = read_bad(output)
        assert len(listed) == len(documents)
        for name, (kind, _) in documents.items():
            line = f"{photos / place / name}: passed over (not an image ({kind}))"
            assert line in listed


def test_litter_of_systems_is_passed_over_as_a_whole(photos, tmp_path):
    litter = ("@eaDir", "$RECYCLE.BIN", ".thumbnails", "__MACOSX", "System Volume Information")
    litter += ("lost+found", ".git", ".ipynb_checkpoints", "#recycle")
    for place in (photos, photos / "a"):
        for name in litter:
            (place / name / "x.png").mkdir(parents=True)
            an_image(place / name / "x.png" / "THUMB.jpg")
        for name in ("Thumbs.db", ".DS_Store", "._0.png", "desktop.ini"):
            (place / name).write_bytes(b"x")
    output = tmp_path / "images.parquet"
    assert "40 images, 2 classes, 0 bad" in done("data", "scan", photos, "-o", output)
    assert len(read_bad(output)) == 2 * (len(litter) + 4)
    assert f"{photos / 'a' / '@eaDir'}: passed over (a system's own folder)" in read_bad(output)


@pytest.mark.parametrize("name", WRITERS)
def test_formats_of_plug_ins_are_read_where_they_are_installed(photos, run, tmp_path, name):
    WRITERS[name](photos / "a" / name)
    output = tmp_path / "images.parquet"
    assert "41 images, 2 classes, 0 bad" in done("data", "scan", photos, "-o", output)
    (row,) = [row for row in Manifest.read(output).table.to_pylist() if row["id"] == f"a/{name}"]
    assert (row["width"], row["height"], row["format"]) == (64, 48, name[2:].upper())
    assert "41 images" in done("predict", run, photos, "-o", tmp_path / "p.parquet")


@pytest.mark.parametrize("name", WRITERS)
def test_formats_of_plug_ins_are_bad_images_with_a_remedy_without_them(
    photos, run, tmp_path, name, without_plugins
):
    WRITERS[name](photos / "a" / name)
    for args in (("data", "scan", photos), ("predict", run, photos)):
        output = tmp_path / args[0]
        line = refused(*args, "-o", output)
        assert "1 of 41" in line
        assert "pip install 'owdfa[formats]'" in line
        assert f"is {name[2:].upper()}, which" in line
        said = done(*args, "-o", output, "--max-bad", 1)
        assert "pip install 'owdfa[formats]'" in said


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"8BPS\0\1", "PSD"),
        (b"v/1\x01", "EXR"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's RAW file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"qoif", "QOI"),
    ],
)
def test_images_of_kinds_that_are_not_read_are_bad_ones(photos, tmp_path, head, name):
    (photos / "a" / "odd").write_bytes(head)
    line = refused("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert f"odd: is {name}, a kind of image that is not read here; save it as PNG" in line


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<html><body>404", "an HTML page"),
        (b'{"error": 404}', "JSON"),
        (b"hello", "text"),
    ],
)
def test_a_file_named_as_an_image_must_be_one(photos, tmp_path, content, kind):
    (photos / "a" / "x.jpg").write_bytes(content)
    line = refused("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert f"x.jpg: is not an image ({kind})" in line


def test_nothing_is_opened_that_would_be_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    an_image(tmp_path / "photo")
    named = name_files(tmp_path)
    assert [file.id for file in named.files] == ["gone", "photo"], (
        "an unreadable file may be an image"
    )
    assert named.passed_over == [(str(tmp_path / "pipe"), "passed over (not a regular file)")]


def test_a_folder_of_documents_alone_is_refused(photos, run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    line = refused("predict", run, tmp_path / "notes", "-o", tmp_path / "p.parquet")
    assert "no images there (1 other files)" in line
    (photos / "c").mkdir()
    (photos / "c" / "a.txt").write_text("a")
    line = refused("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert "c: a class folder without images" in line


@pytest.mark.parametrize(
    "text", ["BMW, Audi", "P5 of the plan", "II wins", "RIFF raff", "GIF8 is", "\ufeffx", "MM*"]
)
def test_text_that_begins_like_an_image_is_text(text):
    assert not identify(text.encode()).is_image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM"])
def test_every_format_is_known_by_its_content(tmp_path, kind):
    path = tmp_path / "x"
    Image.new("RGB", (16, 16)).save(path, kind)
    assert identify(path.read_bytes()).name == kind
    assert why_no_image(path) is None
    assert ".heic" in SUFFIXES
