"""The benchmarks of reading run at toy sizes, and write what they measured."""

import json
import sys

import pytest

from benchmarks import delivery, first_pass, photos, scan, start


@pytest.fixture(autouse=True)
def own_drawings(tmp_path, monkeypatch):
    """Draw into the test's folder, not into what other runs share."""
    monkeypatch.setattr(photos.tempfile, "tempdir", str(tmp_path))


def written(results, name):
    return json.loads((results / f"{name}.json").read_text())


def test_delivery(tmp_path):
    delivery.main(["--quick"], tmp_path / "results")
    found = written(tmp_path / "results", "delivery")
    by_workers = [row for row in found["comparisons"] if "workers of the loader" in row["at"]]
    assert by_workers
    assert all((row["goal"] is None) == (row in by_workers) for row in found["comparisons"])
    assert all(min(row["baseline"] + row["ours"]) > 0 for row in found["comparisons"])
    assert "one read" in found["tables"][0]["title"].lower()


def test_first_pass(tmp_path):
    first_pass.main(["--quick"], tmp_path / "results")
    found = written(tmp_path / "results", "first_pass")
    assert [row["unit"] for row in found["comparisons"]] == ["ms an image"] * 2
    parts = {row[0] for row in found["tables"][1]["rows"]}
    assert {"decode", "face", "crop and resize"} <= parts


def test_own_photographs_are_taken_as_they_are(tmp_path):
    (drawn,) = photos.photographs(tmp_path / "a", 96, 1)
    copies = photos.photographs(tmp_path / "b", 512, 3, own=tmp_path / "a")
    assert [copy.read_bytes() for copy in copies] == [drawn.read_bytes()] * 3
    with pytest.raises(SystemExit, match="no images there"):
        photos.photographs(tmp_path / "c", 512, 3, own=tmp_path / "results")


def test_scan(tmp_path):
    scan.main(["--quick"], tmp_path / "results")
    assert written(tmp_path / "results", "scan")["comparisons"][0]["goal"] == 0.5


def test_a_command_is_watched_until_it_ends_or_is_there(tmp_path):
    said = tmp_path / "said"
    talk = f"import time; open({str(said)!r}, 'w').close(); time.sleep(600)"
    took = start.watched([sys.executable, "-c", talk], said.exists)
    assert took.processor > 0
    assert start.run([sys.executable, "-c", "pass"]).elapsed > 0
    with pytest.raises(SystemExit, match="oh no"):
        start.run([sys.executable, "-c", "raise SystemExit('oh no')"])
