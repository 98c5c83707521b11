"""A data set from a server of our own, and from what is none."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import cli, done, refused
from data_set_samples import touch
from misbehaving_server import Server, names, serve
from owdfa.datasets import owdfa40
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


def test_a_single_folder_is_fetched_again_and_replaced(server: Server, tmp_path: Path) -> None:
    address = mirror(server)
    touch(tmp_path, f"{FOLDERS[0]}/half.png", f"{FOLDERS[1]}/half.png")
    get("owdfa40", tmp_path, address=address, only=["33_*"])
    assert names(tmp_path) == list(FOLDERS)
    assert names(tmp_path / FOLDERS[0]) == ["half.png"]
    assert names(tmp_path / FOLDERS[1]) == ["1.png"]
    with pytest.raises(UserError, match="--only: no folder '33_Generate_SD'; did you mean '33_"):
        get("owdfa40", tmp_path, address=address, only=["33_Generate_SD"])


def test_what_is_there_stays_when_the_new_archive_is_refused(
    server: Server, tmp_path: Path
) -> None:
    address = mirror(server)
    content = packed("../evil.png", b"evil")
    server.files["/data/33_Generate_SD2.1.zip"] = content
    line = f"{hashlib.sha256(content).hexdigest()}  {FOLDERS[1]}.zip\n"
    server.files["/data/SHA256SUMS"] = line.encode()
    touch(tmp_path, f"{FOLDERS[1]}/half.png")
    with pytest.raises(UserError, match="leads out of the folder"):
        get("owdfa40", tmp_path, address=address, only=[FOLDERS[1]])
    assert names(tmp_path / FOLDERS[1]) == ["half.png"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image a folder is all that the protocols use."""
    monkeypatch.setattr(owdfa40, "_expected", lambda: dict.fromkeys(codes(), 1))


def codes() -> list[str]:
    return [class_.code for class_ in owdfa40._table().values()]


def test_what_was_unpacked_is_compared_with_what_the_protocols_use(tmp_path: Path) -> None:
    touch(tmp_path, *(f"1_Swap_Deepfakes/{number}.png" for number in range(3)))
    counts = {each.folder: each[1:] for each in owdfa40.check(str(tmp_path))}
    assert len(counts) == 42
    assert counts["1_Swap_Deepfakes"] == (3, 2000)
    assert counts["2_Swap_FaceSwap"] == (0, 1500), "novel in every protocol"
    assert counts["0_Real_FF++"] == counts["0_Real_CelebDF"] == (0, 10000)
    shown = cli("data", "check", "owdfa40", tmp_path)
    assert shown.status == 1
    assert "1_Swap_Deepfakes           3 of 2000" in shown.stdout
    assert "2_Swap_FaceSwap            missing" in shown.stdout
    assert "42 of 42 folders are missing or incomplete; --repair fetches" in shown.stdout


def test_a_repair_fetches_what_is_missing_and_nothing_else(
    server: Server, tmp_path: Path, small: None
) -> None:
    address = mirror(server)
    there = [folder for folder in owdfa40.folders() if folder not in FOLDERS]
    touch(tmp_path, *(f"{folder}/x.png" for folder in there), f"{FOLDERS[0]}/note.txt")
    shown = done("data", "check", "owdfa40", tmp_path, "--repair", "--from", address)
    assert "all 42 folders are complete" in shown
    assert names(tmp_path / FOLDERS[0]) == ["1.png"]
    assert names(tmp_path / there[0]) == ["x.png"]
    server.ranges.clear()
    done("data", "check", "owdfa40", tmp_path, "--repair", "--from", address)
    assert server.ranges == [], "nothing is missing"


def test_a_repair_that_leaves_something_missing_says_so(
    server: Server, tmp_path: Path, small: None
) -> None:
    tmp_path.joinpath("data").mkdir()
    shown = cli("data", "check", "owdfa40", tmp_path / "data", "--repair", "--from", mirror(server))
    assert shown.status == 1
    assert "40 of 42 folders are missing" in shown.stdout


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    assert "nothing to check" in refused("data", "check", "folder", tmp_path)
    assert "cannot be listed" in refused("data", "check", "owdfa40", tmp_path / "gone")


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
