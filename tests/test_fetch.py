"""A file from a server of our own that misbehaves in every way."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from misbehaving_server import Server, names, serve
from owdfa.download import fetch as module
from owdfa.download.fetch import Published, fetch
from owdfa.errors import UserError

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serve(monkeypatch)


def offered(server: Server, content: bytes = CONTENT) -> Published:
    server.files["/a.zip"] = content
    return Published(f"{server.address}/a.zip", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    fetch(offered(server), tmp_path / "in" / "a.zip", on_progress=lambda *call: calls.append(call))
    assert (tmp_path / "in" / "a.zip").read_bytes() == CONTENT
    assert names(tmp_path / "in") == ["a.zip"]
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert calls == sorted(calls)


def test_goes_on_where_it_was_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_whole_part_only_needs_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges == []


def test_a_whole_file_is_left_as_it_is_and_another_is_replaced(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT)
    fetch(offered(server), tmp_path / "a.zip")
    assert server.ranges == []
    (tmp_path / "a.zip").write_bytes(CONTENT[1:])
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_cut_connections_are_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.cut_after = 100_000
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={n}00000-" for n in range(1, 6))]


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_without_ranges_that_cuts_is_given_up(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cut_after = 1000
    with pytest.raises(UserError, match=r"a\.zip: breaks off .*run it again to continue"):
        fetch(offered(server), tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip.part"]


def test_passing_trouble_is_waited_out(server: Server, tmp_path: Path) -> None:
    server.failures = [503, 500, 429]
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_lasting_trouble_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.failures = [503] * 5
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match=r"breaks off \(status 503\)"):
        fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b""], ids=len
)
def test_what_is_not_as_announced_is_removed(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(UserError, match=r"a\.zip: [\d,]+ bytes of SHA-256 .* run it again"):
        fetch(offered(server, content), tmp_path / "a.zip")
    assert names(tmp_path) == []


def test_a_spoilt_part_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="SHA-256"):
        fetch(offered(server), tmp_path / "a.zip")
    fetch(offered(server), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_is_not_there(server: Server, tmp_path: Path) -> None:
    file = offered(server)
    server.files.clear()
    with pytest.raises(UserError, match=r"a\.zip: the server says 404; check the address"):
        fetch(file, tmp_path / "a.zip")


def test_a_full_disk_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    monkeypatch.setattr(module, "_receive", full)
    with pytest.raises(UserError, match="the disk is full"):
        fetch(offered(server), tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip.part"]
