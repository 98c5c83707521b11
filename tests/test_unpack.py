"""Archives made by friends and by foes."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from owdfa.download.unpack import Limits, unpack
from owdfa.errors import UserError

CONTENT = {"a/1.png": b"one", "a/2.png": b"two" * 1000, "3.png": b""}


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "zip": make_zip,
    "stored.zip": lambda path, members: make_zip(path, members, zipfile.ZIP_STORED),
}
every_kind = pytest.mark.parametrize("kind", sorted(MAKERS))


@every_kind
def test_files_come_out_as_they_went_in(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "archive", CONTENT)
    unpack(archive, tmp_path / "deep" / "out")
    assert files(tmp_path / "deep" / "out") == CONTENT
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@every_kind
def test_a_folder_named_like_the_target_is_the_target(tmp_path: Path, kind: str) -> None:
    members = {f"out/{name}": CONTENT[name] for name in CONTENT}
    unpack(MAKERS[kind](tmp_path / "archive", members), tmp_path / "out")
    assert files(tmp_path / "out") == CONTENT


def test_folders_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/1.png", b"one")
    unpack(tmp_path / "archive", tmp_path / "out")
    assert files(tmp_path / "out") == {"a/1.png": b"one"}


def refused(archive: Path, **limits: int) -> str:
    """The one line; nothing may be left behind, neither inside nor outside of the target."""
    before = files(archive.parent)
    with pytest.raises(UserError) as caught:
        unpack(archive, archive.parent / "inner" / "out", limits=Limits(**limits))
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    assert files(archive.parent) == before
    assert not (archive.parent / "inner" / "out").exists()
    return str(caught.value)


@every_kind
@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "..\\evil.png", "C:/evil.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = MAKERS[kind](tmp_path / "archive", {"1.png": b"one", name: b"evil"})
    assert f"{name!r} leads out of the folder" in refused(archive)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        info = zipfile.ZipInfo("x.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "'x.png' is a link or a device" in refused(tmp_path / "archive")


def test_a_bomb_is_stopped(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "archive", {"1.png": bytes(2**24 + 2**20)})
    assert archive.stat().st_size < 2**16
    assert "unpacks to far more than its size" in refused(archive)


@every_kind
def test_limits_of_bytes_and_members(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "archive", CONTENT)
    assert "unpacks to far more" in refused(archive, bytes=3002)
    assert "more than 2 files" in refused(archive, members=2)
    unpack(archive, tmp_path / "out", limits=Limits(bytes=3003, members=3))


@every_kind
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "archive", {"a/1.png": b"one", "a/./1.png": b"two"})
    assert "holds '1.png' twice" in refused(archive)
    archive = MAKERS[kind](tmp_path / "archive", {"a": b"one", "a/1.png": b"two"})
    assert "holds 'a' twice" in refused(archive)


@every_kind
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_archives_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    archive = MAKERS[kind](tmp_path / "archive", {"1.png": bytes(range(256)) * 400})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert "cannot be unpacked" in refused(archive)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    archive = MAKERS["stored.zip"](tmp_path / "archive", {"1.png": bytes(range(256)) * 400})
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    assert "cannot be unpacked" in refused(archive)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("hello")
    assert "cannot be unpacked" in refused(tmp_path / "archive")
    with pytest.raises(UserError, match="no such file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(make_zip(tmp_path / "archive", {"1.png": b"one"}).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "archive").write_bytes(content)
    assert "password" in refused(tmp_path / "archive")


def test_what_stands_there_is_kept(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "archive", CONTENT)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(UserError, match="exists; remove it"):
        unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {"mine": b"keep"}


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("owdfa.download.unpack._write", full)
    with pytest.raises(UserError, match=r"out: the disk is full"):
        unpack(make_zip(tmp_path / "archive", CONTENT), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
