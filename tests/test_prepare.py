import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from pkgutil import resolve_name

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from owdfa.errors import UserError
from owdfa.images import cropping, faces, journal
from owdfa.images.faces import Box
from owdfa.images.journal import Journal
from owdfa.images.store import Store
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.prepare import prepare

COUNT = 20  # three chunks

STOPPED = """
import os, signal, sys
from pathlib import Path
from owdfa.stages.prepare import prepare

def stop(done, total):
    assert (done, total) == (8, 20)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    assert "torch" not in sys.modules
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), size=9, jobs=int(sys.argv[3]), on_progress=stop)
"""


@pytest.fixture
def manifest(tmp_path):
    """Twenty small pictures and their manifest, which is not in order of id."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        path = tmp_path / f"{i:02}.png"
        coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((12, 10)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        row = {"id": path.name, "path": str(path), "class": "real", "group": path.name}
        rows.append(row | {"sha256": digest})
    rows.append({"id": "99.png", "path": "nowhere", "group": "x", "error": "was bad already"})
    table = pa.Table.from_pylist(rows[::-1], schema=SCHEMA)
    Manifest(table, "folder:test").write(tmp_path / "images.parquet")
    return tmp_path / "images.parquet"


def contents(folder):
    """Every file of a folder, to the byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_read_once(manifest, tmp_path, monkeypatch):
    read, seen = cropping.read, []
    monkeypatch.setattr(cropping, "read", lambda path: seen.append(path.name) or read(path))
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert seen == [f"{i:02}.png" for i in range(COUNT)]


def test_a_worker_imports_no_more_than_it_needs():
    program = (
        "import sys, owdfa.images.cropping\n"
        "print(*[name for name in ('pyarrow', 'torch', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b""


def spoil(manifest, name):
    (manifest.parent / name).write_bytes(b"something else")


def test_crops_follow_the_ids(manifest, tmp_path):
    seen = []
    store = prepare(
        manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: seen.append(at)
    )
    assert store.ids == [f"{i:02}.png" for i in range(COUNT)]
    for i in (0, 9, 19):
        image = Image.open(tmp_path / f"{i:02}.png").resize((9, 9), Image.Resampling.BILINEAR)
        assert np.array_equal(store.pixels[i], np.asarray(image))
    assert seen == [(8, COUNT), (16, COUNT), (COUNT, COUNT)]
    assert sorted(contents(store.folder)) == ["ids.parquet", "pixels.bin", "store.json"]
    assert not (tmp_path / ".s.part").exists()


def test_the_manifest_is_filled_and_keeps_its_digest(manifest, tmp_path, monkeypatch):
    before = Manifest.read(manifest)

    class Finder:
        def detect(self, rgb):
            return [Box(2, 3, 8, 9, 0.5)]

    monkeypatch.setitem(faces._DETECTORS, "finder", Finder)
    store = prepare(manifest, tmp_path / "s", faces="finder", size=9, jobs=1)
    after = Manifest.read(manifest)
    assert after.digest() == before.digest() == store.manifest_digest
    assert after.store == tmp_path / "s"
    kept = [name for name in SCHEMA.names if name not in ("phash", "face")]
    assert after.table.select(kept) == before.table.select(kept)
    rows = {row["id"]: row for row in after.table.to_pylist()}
    assert rows["99.png"]["phash"] is rows["99.png"]["face"] is None
    box = {"left": 2, "top": 3, "right": 8, "bottom": 9, "score": 0.5}
    assert rows["07.png"]["face"] == box
    hashes = dict(zip(store.ids, store.table["phash"].to_pylist(), strict=True))
    assert {name: rows[name]["phash"] for name in hashes} == hashes
    assert len(set(hashes.values())) > COUNT // 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bytes(manifest, tmp_path, jobs):
    prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    command = [sys.executable, str(script), str(manifest), str(tmp_path / "s"), str(jobs)]
    # The pipes stay open as long as any worker lives: that it returns shows that none outlived it.
    stopped = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr.decode()
    assert not (tmp_path / "s").exists()
    seen = []
    prepare(manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: seen.append(at[0]))
    assert seen == [16, 20]
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def stop_at(monkeypatch, owner, name, call):
    """Make a function raise, as a kill would stop it, at its given call."""
    function, calls = getattr(owner, name), []

    def stopping(*args, **keywords):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **keywords)

    monkeypatch.setattr(owner, name, stopping)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("owdfa.images.journal.Journal", "add", 2),
        ("owdfa.images.journal.json", "dumps", 2),  # pixels written, line not
        ("owdfa.images.journal.Journal", "compact", 1),
        ("owdfa.images.journal.os", "fsync", 1),  # compacted, not renamed
        ("owdfa.stages.prepare", "write_notes", 1),
        ("owdfa.images.store", "write_json", 1),
        ("pathlib.Path", "unlink", 2),  # the journal may be gone
        ("owdfa.records.manifest.Manifest", "write", 1),
    ],
)
def test_a_stop_anywhere_costs_nothing_but_time(manifest, tmp_path, monkeypatch, owner, name, call):
    spoil(manifest, "05.png")
    untouched = manifest.read_bytes()
    prepare(manifest, tmp_path / "whole", size=9, jobs=1, max_bad=1)
    filled = Manifest.read(manifest).table
    manifest.write_bytes(untouched)
    with monkeypatch.context() as patch:
        stop_at(patch, resolve_name(owner), name, call)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1)
    prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert Manifest.read(manifest).table == filled


def test_torn_lines_and_torn_pixels_are_done_again(manifest, tmp_path, monkeypatch):
    prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    with monkeypatch.context() as patch:
        stop_at(patch, Journal, "add", 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, tmp_path / "s", size=9, jobs=1)
    part = tmp_path / ".s.part"
    lines = (part / "journal.jsonl").read_bytes()
    (part / "journal.jsonl").write_bytes(lines[:-9])  # the second line is torn
    with (part / "pixels.bin").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\x00\x01")
    seen = []
    prepare(manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: seen.append(at[0]))
    assert seen == [8, 16, 20]
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_a_second_run_only_fills_the_manifest(manifest, tmp_path):
    fresh = manifest.read_bytes()
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    filled = Manifest.read(manifest)
    stamp = (tmp_path / "s" / "pixels.bin").stat().st_mtime_ns
    for before in (fresh, manifest.read_bytes()):
        manifest.write_bytes(before)
        prepare(
            manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: pytest.fail("work")
        )
        assert Manifest.read(manifest) == filled
    assert (tmp_path / "s" / "pixels.bin").stat().st_mtime_ns == stamp


def test_bad_images_are_listed_and_left_out(manifest, tmp_path):
    spoil(manifest, "05.png")
    (tmp_path / "10.png").unlink()
    before = Manifest.read(manifest)
    store = prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=2)
    names = [f"{i:02}.png" for i in range(COUNT) if i not in (5, 10)]
    assert store.ids == names
    image = Image.open(tmp_path / "19.png").resize((9, 9), Image.Resampling.BILINEAR)
    assert np.array_equal(store.pixels[17], np.asarray(image))
    assert store.failures["05.png"] == "has changed since it was scanned"
    assert "cannot be read" in store.failures["10.png"]
    after = Manifest.read(manifest)
    assert after.usable().table["id"].to_pylist() == names[::-1]
    assert after.digest() == store.manifest_digest != before.digest() == store.basis.scanned
    errors = dict(zip(after.table["id"].to_pylist(), after.table["error"].to_pylist(), strict=True))
    assert errors["99.png"] == "was bad already"
    listed = (tmp_path / "s.bad.txt").read_text().splitlines()
    assert listed[0] == f"{tmp_path / '05.png'}: has changed since it was scanned"
    assert len(listed) == 2
    # Both manifests, as scanned and as filled, belong to the store.
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    before.write(manifest)
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert Manifest.read(manifest) == after


def test_too_many_bad_images_are_refused_and_can_be_mended(manifest, tmp_path):
    whole = contents(prepare(manifest, tmp_path / "whole", size=9, jobs=1).folder)
    sound = (tmp_path / "05.png").read_bytes()
    spoil(manifest, "05.png")
    with pytest.raises(UserError, match=r"1 of 20 images cannot be used.*05\.png: has changed"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)  # a hundredth of 20 is none
    assert not (tmp_path / "s").exists()
    assert (tmp_path / "s.bad.txt").exists()
    (tmp_path / "05.png").write_bytes(sound)
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert contents(tmp_path / "s") == whole
    assert not (tmp_path / "s.bad.txt").exists()


def test_all_images_bad_is_an_error_whatever_is_tolerated(manifest, tmp_path):
    for i in range(COUNT):
        spoil(manifest, f"{i:02}.png")
    with pytest.raises(UserError, match="none of the 20 images can be used"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1000)


def test_a_store_made_otherwise_is_refused(manifest, tmp_path):
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    with pytest.raises(UserError, match="size 9 there, 10 here"):
        prepare(manifest, tmp_path / "s", size=10, jobs=1)
    with pytest.raises(UserError, match="faces none there, dlib here"):
        prepare(manifest, tmp_path / "s", faces="dlib", size=9, jobs=1)
    fewer = Manifest(Manifest.read(manifest).table.slice(0, 9), "folder:test")
    fewer.write(manifest)
    with pytest.raises(UserError, match=r"\(another manifest\)"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)


def test_an_unfinished_store_made_otherwise_is_refused(manifest, tmp_path, monkeypatch):
    stop_at(monkeypatch, Journal, "add", 2)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)
    with pytest.raises(UserError, match=r"\.s\.part: was prepared otherwise \(size 9 there, 10"):
        prepare(manifest, tmp_path / "s", size=10, jobs=1)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_store_is_not_replaced(manifest, tmp_path, kind):
    place = tmp_path / "s"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.tex").write_text("years of work")
    else:
        place.write_text("years of work")
    with pytest.raises(UserError, match="stands there and is not a store"):
        prepare(manifest, place, size=9, jobs=1)


def test_an_empty_folder_may_become_the_store(manifest, tmp_path):
    (tmp_path / "s").mkdir()
    assert prepare(manifest, tmp_path / "s", size=9, jobs=1).size == 9


def test_two_runs_do_not_share_a_folder(manifest, tmp_path):
    part = tmp_path / ".s.part"
    part.mkdir()
    handle = os.open(part, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process is preparing this store"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)
    os.close(handle)
    prepare(manifest, tmp_path / "s", size=9, jobs=1)


def test_a_full_disk_is_one_line(manifest, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "add", full)
        with pytest.raises(UserError, match=r"s: the disk is full"):
            prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert not (tmp_path / "s").exists()
    assert isinstance(prepare(manifest, tmp_path / "s", size=9, jobs=1), Store)


def test_settings_that_do_not_fit(manifest, tmp_path):
    with pytest.raises(UserError, match="did you mean 'dlib'"):
        prepare(manifest, tmp_path / "s", faces="dlibb")
    with pytest.raises(UserError, match="size 4"):
        prepare(manifest, tmp_path / "s", size=4)
    with pytest.raises(UserError, match="no such file; a manifest"):
        prepare(tmp_path / "no.parquet", tmp_path / "s")


def test_a_manifest_without_usable_images(manifest, tmp_path):
    empty = Manifest(Manifest.read(manifest).table.slice(0, 1), "folder:test")
    empty.write(manifest)
    with pytest.raises(UserError, match="no usable image"):
        prepare(manifest, tmp_path / "s")
