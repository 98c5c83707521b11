"""What a scan writes, and from which sources."""

import random
from hashlib import sha256
from pathlib import Path

import pytest

import owdfa
from owdfa.config import parse_settings
from owdfa.datasets import folder
from owdfa.errors import UserError
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages import scan as stage
from owdfa.stages.scan import ScanOptions, Source, parse_source, scan
from small_photos import LENIENT, make_photos, rows


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


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
        "jpeg_quality": None,
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
    chosen = parse_settings(ScanOptions, options, "here")
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
    chosen = parse_settings(ScanOptions, options, "here")
    with pytest.raises(UserError, match=message):
        scan(str(photos), tmp_path / "images.parquet", options=chosen)
    assert not (tmp_path / "images.parquet").exists()


def test_misspelt_and_senseless_options() -> None:
    with pytest.raises(UserError, match="did you mean 'max_bad'"):
        parse_settings(ScanOptions, {"maxbad": 1}, "here")
    with pytest.raises(UserError, match="group_level"):
        parse_settings(ScanOptions, {"group_level": 0}, "here")


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
        ("nowhere", "nowhere: no such folder; .* csv:, .*folder:"),
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
        "from owdfa.datasets.base import ImageEntry\n"
        "DESCRIPTION, PROTOCOL, FACES = 'mine', None, 'none'\n"
        "def read(root):\n"
        "    yield ImageEntry('x.png', Path(root) / 'a/v1/1.png', 'x', 'swap', 'me', 'g')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    manifest = scan(f"mine.pictures:{photos}", tmp_path / "images.parquet")
    assert rows(manifest)["x.png"]["source"] == "me"


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images there"):
        scan(str(tmp_path / "empty"), tmp_path / "images.parquet")
