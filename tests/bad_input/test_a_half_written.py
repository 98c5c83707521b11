"""A. Where nothing can be written, nothing is half-written, and one line says why."""

from pathlib import Path

import pytest

from command_line import refused


def test_places_that_cannot_be_written(photos, run, data, tmp_path, settings):
    file = tmp_path / "file"
    file.write_text("mine")
    for args in (
        ("data", "scan", photos, "-o", file / "images.parquet"),
        ("split", data.manifest, "--known", "real,swap", "-o", file / "split"),
        ("train", "--split", data.split, "-o", file / "run", *settings),
        ("predict", run, "split:test", "-o", file / "p.parquet"),
    ):
        line = refused(*args)
        assert str(file) in line
        assert "-o" in line
    assert file.read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(photos, run, tmp_path, monkeypatch):
    def full(self, table, **options):
        with Path("/dev/full").open("wb") as stream:
            stream.write(b"x")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    for args in (("data", "scan", photos), ("predict", run, "split:test")):
        line = refused(*args, "-o", tmp_path / "out.parquet")
        assert "out.parquet: the disk is full; free some space" in line
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_disk_that_fills_up_under_the_log(data, tmp_path, monkeypatch, settings):
    def full(self, kind, values):
        raise OSError(28, "No space left on device", "log.jsonl")

    monkeypatch.setattr("owdfa.runs.tracking.Log.write", full)
    line = refused("train", "--split", data.split, "-o", tmp_path / "run", *settings)
    assert line == "owdfa: log.jsonl: the disk is full; free some space and run the command again"
