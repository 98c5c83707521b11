"""That nothing bad gets through a scan or stops it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from owdfa.datasets import folder
from owdfa.datasets.base import ImageEntry
from owdfa.errors import UserError
from owdfa.images.bad import read_bad
from owdfa.records.manifest import Manifest
from owdfa.stages.scan import ScanOptions, scan
from small_photos import LENIENT, image, make_photos, rows


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


def truncated(path: Path) -> None:
    image(path)
    path.write_bytes(path.read_bytes()[:-20])


def forbidden(path: Path) -> None:
    """A file that nobody, root included, can open: a link that leads to itself."""
    path.symlink_to(path.name)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (Path.touch, "is empty"),
    "text.jpg": (lambda path: path.write_text("hello"), "is not an image"),
    "truncated.png": (truncated, "is truncated"),
    "tiny.png": (lambda path: image(path, size=(1, 1)), "1 x 1 pixels are too few"),
    "loop.png": (forbidden, "cannot be read (Too many levels of symbolic links)"),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "cannot be read (No such file"),
    "pipe.png": (os.mkfifo, "is not a regular file"),
    os.fsdecode(b"caf\xe9.png"): (image, "its name is not UTF-8"),
}


@pytest.mark.parametrize("name", sorted(BAD, key=ascii))
def test_a_bad_file_is_listed_with_its_reason(photos: Path, tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    make(photos / "a" / name)
    manifest = scan(str(photos), tmp_path / "images.parquet", options=LENIENT)
    (bad,) = [row for row in rows(manifest).values() if row["error"]]
    assert str(bad["error"]).startswith(reason)
    assert bad["width"] is None
    assert manifest.usable().table.num_rows == 6
    (line,) = read_bad(tmp_path / "images.parquet")
    assert line == f"{bad['path']}: {bad['error']}"
    assert Manifest.read(tmp_path / "images.parquet").table.equals(manifest.table)


def test_a_long_name_and_odd_characters_are_fine(photos: Path, tmp_path: Path) -> None:
    names = ["n" * 251 + ".png", "ü 日本 😀 'quoted' #%.png"]
    for name in names:
        image(photos / "a" / name)
    manifest = scan(str(photos), tmp_path / "images.parquet")
    assert {f"a/{name}" for name in names} < set(rows(manifest))


def test_a_file_beyond_the_longest_name_is_listed(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    (tmp_path / "list.csv").write_text(f"path,class\n1.png,a\n{'n' * 300}.png,a\n")
    manifest = scan(str(tmp_path / "list.csv"), tmp_path / "images.parquet", options=LENIENT)
    assert rows(manifest)["n" * 300 + ".png"]["error"] == "cannot be read (File name too long)"


def test_too_many_bad_files_stop_the_scan(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "images.parquet"
    for name in ("x.png", "y.png"):
        (photos / "b" / name).touch()
    for max_bad in (0, 0.01, 0.24, 1):
        with pytest.raises(UserError) as caught:
            scan(str(photos), output, options=ScanOptions(max_bad=max_bad))
        message = str(caught.value)
        assert message.startswith("2 of 8 files cannot be used")
        assert f"first {photos / 'b' / 'x.png'}: is empty; all are listed in" in message
        assert "\n" not in message
        assert not output.exists()
    assert len(read_bad(tmp_path / "images.parquet")) == 2
    for max_bad in (0.25, 2):
        scan(str(photos), output, options=ScanOptions(max_bad=max_bad))
    for name in ("x.png", "y.png"):
        (photos / "b" / name).unlink()
    scan(str(photos), output)
    assert not (tmp_path / "images.parquet.bad.txt").exists()


def test_nothing_but_bad_files_stops_the_scan(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    with pytest.raises(UserError, match=r"none of the 1 files .* first .*1\.png: is empty"):
        scan(str(tmp_path), tmp_path / "images.parquet", options=LENIENT)


def test_a_failed_scan_leaves_the_old_manifest(photos: Path, tmp_path: Path) -> None:
    scan(str(photos), tmp_path / "images.parquet")
    before = (tmp_path / "images.parquet").read_bytes()
    (photos / "b" / "x.png").touch()
    with pytest.raises(UserError):
        scan(str(photos), tmp_path / "images.parquet")
    assert (tmp_path / "images.parquet").read_bytes() == before


def test_an_id_that_occurs_twice(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = [
        ImageEntry("x", photos / f"a/v1/{number}.png", "a", None, None, "x") for number in (1, 2)
    ]
    monkeypatch.setattr(folder, "read", lambda root: iter(listings))
    with pytest.raises(UserError, match=r"x: listed twice, as .*1\.png and .*2\.png"):
        scan(str(photos), tmp_path / "images.parquet")


def test_a_full_disk(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(UserError, match="the disk is full"):
        scan(str(photos), tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet").exists()
