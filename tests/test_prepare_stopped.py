import errno
import fcntl
import os
import signal
import subprocess
import sys
from pkgutil import resolve_name

import numpy as np
import pytest

from owdfa.errors import UserError
from owdfa.images import journal
from owdfa.images.journal import Journal
from owdfa.images.store import Store
from owdfa.records.manifest import Manifest
from owdfa.stages.prepare import prepare
from twenty_pictures import contents, make_manifest, spoil

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
    return make_manifest(tmp_path)


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


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("owdfa.images.journal.Journal", "add", 2),
        ("owdfa.images.journal.Journal", "compact", 1),
        ("owdfa.stages.prepare", "write_notes", 1),
        ("owdfa.stages.prepare", "append", 1),
        ("owdfa.images.store.os", "fsync", 1),  # appended, not noted
        ("owdfa.images.store", "write_table", 2),
        ("owdfa.images.store", "write_json", 2),  # rows written, not counted yet
        ("pathlib.Path", "unlink", 1),
        ("pathlib.Path", "unlink", 3),
        ("pathlib.Path", "rmdir", 1),
        ("owdfa.records.manifest.Manifest", "write", 1),
    ],
)
def test_a_stop_anywhere_while_a_store_grows(manifest, tmp_path, monkeypatch, owner, name, call):
    scanned = Manifest.read(manifest)
    spoil(manifest, "05.png")
    few = Manifest(scanned.table.slice(0, 6), "folder:test")
    for place in ("whole", "s"):
        few.write(manifest)
        prepare(manifest, tmp_path / place, size=9, jobs=1)
    pixels = Store.open(tmp_path / "s").pixels.copy()
    scanned.write(manifest)
    prepare(manifest, tmp_path / "whole", size=9, jobs=1, max_bad=1)
    filled = Manifest.read(manifest).table
    scanned.write(manifest)
    with monkeypatch.context() as patch:
        stop_at(patch, resolve_name(owner), name, call)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1)
    assert np.array_equal(Store.open(tmp_path / "s").pixels[:5], pixels)
    prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert Manifest.read(manifest).table == filled


def test_crops_of_a_killed_run_serve_a_manifest_that_has_changed_since(
    manifest, tmp_path, monkeypatch
):
    whole = prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    with monkeypatch.context() as patch:
        stop_at(patch, Journal, "add", 2)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, tmp_path / "s", size=9, jobs=1)
    rows = Manifest.read(manifest).table
    Manifest(rows.slice(0, 18), "folder:test").write(manifest)  # without the three first images
    seen = []
    store = prepare(
        manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: seen.append(at)
    )
    assert seen == [(13, 17), (17, 17)]  # five of the first chunk are in the manifest
    for name in store.ids:
        assert np.array_equal(*(s.pixels[s.rows([name])[0]] for s in (store, whole)))


def test_a_run_killed_before_its_first_chunk_leaves_nothing_behind(manifest, tmp_path, monkeypatch):
    prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    whole = Manifest.read(manifest)
    Manifest(whole.table.slice(0, 9), "folder:test").write(manifest)
    with monkeypatch.context() as patch:
        stop_at(patch, Journal, "add", 1)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, tmp_path / "s", size=9, jobs=1)
    whole.write(manifest)
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


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


def test_an_unfinished_store_made_otherwise_is_refused(manifest, tmp_path, monkeypatch):
    stop_at(monkeypatch, Journal, "add", 2)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)
    with pytest.raises(UserError, match=r"\.s\.part: was prepared otherwise \(size 9 there, 10"):
        prepare(manifest, tmp_path / "s", size=10, jobs=1)


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
