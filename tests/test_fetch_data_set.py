"""A data set from a server of our own, and from what is none."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from misbehaving_server import Server, names, serve
from owdfa.download import fetch as module
from owdfa.download.fetch import Published, get, published
from owdfa.errors import UserError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serve(monkeypatch)


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
