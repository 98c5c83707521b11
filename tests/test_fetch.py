"""Downloads from a server of our own that misbehaves in every way."""

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from owdfa.download import fetch as module
from owdfa.download.fetch import Published, fetch, get, published
from owdfa.errors import UserError

CONTENT = bytes(range(256)) * 2000


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``, and cuts, lies or fails as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []  # what each GET asked for
        self.cut_after: int | None = None  # bytes of each answer, then the connection is closed
        self.knows_ranges = True
        self.failures: list[int] = []  # statuses of the next answers

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        self.answer(with_content=True)

    def answer(self, *, with_content: bool) -> None:
        content = self.server.files.get(self.path)
        if content is None or (with_content and self.server.failures):
            self.send_error(404 if content is None else self.server.failures.pop(0))
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_content:
            end = None if self.server.cut_after is None else start + self.server.cut_after
            self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.delenv(module.MIRROR, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def offered(server: Server, content: bytes = CONTENT) -> Published:
    server.files["/a.zip"] = content
    return Published(f"{server.address}/a.zip", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    with pytest.raises(UserError, match=r"a\.zip: breaks off .*run it again to go on"):
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


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


FOLDERS = ("0_Real_FF++", "33_Generate_SD2.1")


def mirror(server: Server) -> str:
    """Two of the published archives, and what sha256sum writes of them."""
    sums = []
    for folder in FOLDERS:
        content = packed(f"{folder}/1.png", folder.encode())
        server.files[f"/data/{folder.replace('+', '%2B')}.zip"] = content
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {folder}.zip\n")
    server.files["/data/SHA256SUMS"] = "".join(sums).encode()
    return f"{server.address}/data"


def test_a_data_set_is_fetched_and_unpacked(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    missing = get(
        "owdfa40",
        tmp_path,
        address=mirror(server),
        on_progress=lambda *call: calls.append(call),
    )
    assert names(tmp_path) == list(FOLDERS)
    assert (tmp_path / FOLDERS[0] / "1.png").read_bytes() == FOLDERS[0].encode()
    assert len(missing) == 40
    assert calls[-1][0] == calls[-1][1]
    assert calls == sorted(calls)


def test_what_is_there_is_not_fetched_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.MIRROR, mirror(server) + "/")
    (tmp_path / FOLDERS[0]).mkdir()
    get("owdfa40", tmp_path)
    assert names(tmp_path / FOLDERS[0]) == []
    assert names(tmp_path / FOLDERS[1]) == ["1.png"]
    assert len(server.ranges) == 2, "the list, and one archive"


def test_a_bad_archive_leaves_no_folder(server: Server, tmp_path: Path) -> None:
    address = mirror(server)
    content = packed("../evil.png", b"evil")
    server.files = {"/data/33_Generate_SD2.1.zip": content}
    line = f"{hashlib.sha256(content).hexdigest()}  33_Generate_SD2.1.zip\n"
    server.files["/data/SHA256SUMS"] = line.encode()
    with pytest.raises(UserError, match="leads out of the folder"):
        get("owdfa40", tmp_path / "out", address=address)
    assert names(tmp_path) == ["out"]
    assert all(name.startswith(".") for name in names(tmp_path / "out"))


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        (None, "SHA256SUMS: the server says 404"),
        (b"<html>", "is not what sha256sum writes: '<html>'"),
        (b"\xff", "is not text"),
        (b"", "offers no archive of owdfa40, such as 0_Real_CelebDF.zip"),
        (b"0" * 64 + b"  1_Swap_Deepfakes.zip\n", "1_Swap_Deepfakes.zip: the server says 404"),
    ],
)
def test_addresses_that_do_not_serve_it(
    server: Server, tmp_path: Path, sums: bytes | None, message: str
) -> None:
    if sums is not None:
        server.files["/SHA256SUMS"] = sums
    with pytest.raises(UserError, match=message) as caught:
        get("owdfa40", tmp_path, address=server.address)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_offline(server: Server, tmp_path: Path) -> None:
    with Server() as other:
        silent = other.address  # nobody listens any more
    with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\); go online"):
        get("owdfa40", tmp_path, address=silent)


def test_what_is_no_address_and_no_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an address"):
        get("owdfa40", tmp_path, address="file:///etc")
    with pytest.raises(UserError, match="folder: is not published as archives"):
        get("folder", tmp_path)
    with pytest.raises(UserError, match="did you mean 'owdfa40'"):
        get("owdfa4", tmp_path)


def test_the_listing_of_the_hub_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    listing = [
        {"type": "file", "path": "README.md", "size": 9, "oid": "1" * 40},
        {"type": "file", "path": "x/a+b.zip", "size": 7, "lfs": {"oid": "f" * 64, "size": 7}},
    ]

    def answer(address: str) -> str:
        asked.append(address)
        return json.dumps(listing)

    monkeypatch.setattr(module, "_text", answer)
    base = "https://hub.example/datasets/someone/something/resolve/main"
    expected = Published(f"{base}/x/a%2Bb.zip", 7, "f" * 64)
    assert published(base) == {"x/a+b.zip": expected}
    assert asked == ["https://hub.example/api/datasets/someone/something/tree/main?recursive=true"]
    monkeypatch.setattr(module, "_text", lambda address: '{"error": "gated"}')
    with pytest.raises(UserError, match="is not the hub's listing"):
        published(base)
