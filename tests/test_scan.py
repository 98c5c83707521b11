"""What a scan writes, and that nothing bad gets through it or stops it."""

import os
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

import owdfa
from owdfa.config import fill
from owdfa.datasets import folder
from owdfa.datasets.base import Listing
from owdfa.errors import UserError
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages import scan as stage
from owdfa.stages.scan import ScanOptions, Source, parse_source, scan

LENIENT = ScanOptions(max_bad=1000)


def image(path: Path, colour: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, colour).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three images, in two videos each."""
    root = tmp_path / "photos"
    for number, name in enumerate(["a/v1/1", "a/v1/2", "a/v2/1", "b/v2/1", "b/v3/1", "b/v3/2"]):
        image(root / f"{name}.png", number)
    return root


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in manifest.table.to_pylist()}


def test_a_row_says_what_the_file_holds(photos: Path, tmp_path: Path) -> None:
    manifest = scan(f"folder:{photos}", tmp_path / "images.parquet")
    content = (photos / "a/v2/1.png").read_bytes()
    assert rows(manifest)["a/v2/1.png"] == {
        "id": "a/v2/1.png",
        "path": str(photos / "a/v2/1.png"),
        "class": "a",
        "family": None,
        "source": None,
        "group": "a/v2/1.png",
        "width": 12,
        "height": 10,
        "format": "PNG",
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "error": None,
        "phash": None,
        "face": None,
    }
    assert manifest.dataset == f"folder:{photos}"


def test_what_is_written_is_what_is_returned(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "images.parquet"
    manifest = owdfa.scan(str(photos), output)
    assert manifest.table.schema == SCHEMA
    assert Manifest.read(output).table.equals(manifest.table)
    assert list(output.parent.iterdir()) == [output]


def test_the_order_of_the_file_system_does_not_matter(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = scan(str(photos), tmp_path / "1.parquet")
    listings = list(folder.read(str(photos)))
    random.Random(3).shuffle(listings)
    monkeypatch.setattr(folder, "read", lambda root: iter(listings))
    shuffled = scan(str(photos), tmp_path / "2.parquet", options=ScanOptions(jobs=3))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert straight.digest() == shuffled.digest()


def test_rows_beyond_one_chunk(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scan(str(photos), tmp_path / "1.parquet")
    monkeypatch.setattr(stage, "_CHUNK", 2)
    monkeypatch.setattr(stage, "_BLOCK", 1)
    calls: list[tuple[int, int]] = []
    chunked = scan(
        str(photos), tmp_path / "2.parquet", on_progress=lambda *call: calls.append(call)
    )
    assert chunked.table.equals(whole.table)
    assert calls == [(done, 6) for done in range(1, 7)]


def test_processes_find_what_threads_find(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "b" / "bad.png").touch()
    scan(str(photos), tmp_path / "1.parquet", options=LENIENT)
    monkeypatch.setattr(stage, "_MANY", 2)
    monkeypatch.setattr(stage, "_BLOCK", 2)
    options = ScanOptions(jobs=2, max_bad=LENIENT.max_bad)
    scan(str(photos), tmp_path / "2.parquet", options=options)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


@pytest.mark.parametrize(
    ("options", "group"),
    [
        ({}, "b/v2/1.png"),
        ({"group_level": 2}, "v2"),
        ({"group_regex": r"(v\d)/"}, "v2"),
        ({"group_regex": r"^(.*)/"}, "b/v2"),
    ],
)
def test_groups(photos: Path, tmp_path: Path, options: dict[str, object], group: str) -> None:
    chosen = fill(ScanOptions, options, "here")
    manifest = scan(str(photos), tmp_path / "images.parquet", options=chosen)
    assert rows(manifest)["b/v2/1.png"]["group"] == group


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_level": 1}, "group_level 1 is the class, .* the folder below it is 2"),
        ({"group_level": 3}, "a/v1/1.png: lies in no folder of group_level 3"),
        ({"group_regex": "v1/(.)"}, r"a/v2/1.png: group_regex 'v1/\(.\)' finds no group in it"),
        ({"group_regex": "("}, "missing \\)"),
        ({"group_regex": "v1"}, "put what names the group into"),
        ({"group_regex": "(v1)", "group_level": 2}, "exclude each other"),
    ],
)
def test_groups_that_cannot_be_told(
    photos: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    chosen = fill(ScanOptions, options, "here")
    with pytest.raises(UserError, match=message):
        scan(str(photos), tmp_path / "images.parquet", options=chosen)
    assert not (tmp_path / "images.parquet").exists()


def test_misspelt_and_senseless_options() -> None:
    with pytest.raises(UserError, match="did you mean 'max_bad'"):
        fill(ScanOptions, {"maxbad": 1}, "here")
    with pytest.raises(UserError, match="group_level"):
        fill(ScanOptions, {"group_level": 0}, "here")


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "odd:name").mkdir()
    assert parse_source("folder:a:b") == Source("folder", "a:b")
    assert parse_source("photos") == Source("folder", "photos")
    assert parse_source("list.csv") == Source("csv", "list.csv")
    assert parse_source("odd:name") == Source("folder", "odd:name")
    assert parse_source("some.module:x") == Source("some.module", "x")
    assert str(Source("csv", "x.csv")) == "csv:x.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folders:photos", "did you mean 'folder'"),
        ("nowhere", "nowhere: no such folder; .* csv:, folder:"),
        ("no.such.module:x", "no data set module 'no.such.module'"),
    ],
)
def test_sources_that_are_not_there(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        scan(text, tmp_path / "images.parquet")


def test_a_data_set_from_outside_the_package(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pictures.py").write_text(
        "from pathlib import Path\n"
        "from owdfa.datasets.base import Listing\n"
        "DESCRIPTION, PROTOCOL, FACES = 'mine', None, 'none'\n"
        "def read(root):\n"
        "    yield Listing('x.png', Path(root) / 'a/v1/1.png', 'x', 'swap', 'me', 'g')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    manifest = scan(f"mine.pictures:{photos}", tmp_path / "images.parquet")
    assert rows(manifest)["x.png"]["source"] == "me"


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images there"):
        scan(str(tmp_path / "empty"), tmp_path / "images.parquet")


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
    (line,) = (tmp_path / "images.parquet.bad.txt").read_text().splitlines()
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
    assert len((tmp_path / "images.parquet.bad.txt").read_text().splitlines()) == 2
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


def test_a_file_listed_twice_under_two_names(photos: Path, tmp_path: Path) -> None:
    (photos / "b" / "again.png").symlink_to(photos / "a/v1/1.png")
    with pytest.raises(UserError, match=r"a/v1/1\.png and .*b/again\.png: are the same file"):
        scan(str(photos), tmp_path / "images.parquet")


def test_a_file_listed_twice_below_a_link_to_its_folder(photos: Path, tmp_path: Path) -> None:
    (photos / "b" / "again").symlink_to(photos / "a" / "v1")
    with pytest.raises(UserError, match=r"a/v1/1\.png and .*b/again/1\.png: are the same file"):
        scan(str(photos), tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet").exists()


def test_places_with_equal_hashes_are_told_apart(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("owdfa.stages.scan", "owdfa.images.examine"):
        monkeypatch.setattr(f"{module}.hash", lambda _: 7, raising=False)
    assert scan(str(photos), tmp_path / "images.parquet").table.num_rows == 6
    (photos / "b" / "again.png").symlink_to(photos / "a/v1/1.png")
    with pytest.raises(UserError, match=r"a/v1/1\.png and .*b/again\.png: are the same file"):
        scan(str(photos), tmp_path / "2.parquet")


def test_hard_links_are_files_of_their_own(photos: Path, tmp_path: Path) -> None:
    (photos / "a" / "hard.png").hardlink_to(photos / "a/v1/1.png")
    assert scan(str(photos), tmp_path / "1.parquet").table.num_rows == 7
    (photos / "b" / "soft.png").symlink_to(photos / "a/v1/1.png")
    with pytest.raises(UserError, match="are the same file"):
        scan(str(photos), tmp_path / "2.parquet")


def test_an_id_that_occurs_twice(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = [
        Listing("x", photos / f"a/v1/{number}.png", "a", None, None, "x") for number in (1, 2)
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
