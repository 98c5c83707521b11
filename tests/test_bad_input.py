"""Bad input through the command line: one line, exit status 2, and nothing half-written."""

import os
from pathlib import Path

import pytest
from PIL import Image

from command_line import cli, done, make_photos, refused
from owdfa.records.manifest import Manifest
from tiny_data import DRIFT, make_data

WHOLE = [*DRIFT, "epochs=1", "backbone.weights=none"]
SET = [part for setting in WHOLE for part in ("--set", setting)]


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done("train", "--split", data.split, "-o", folder, *SET)
    return folder


def test_splits_that_are_refused(photos, tmp_path):
    Image.new("RGB", (12, 12)).save(tmp_path / "one.png")
    (photos / "lonely").mkdir()
    (tmp_path / "one.png").rename(photos / "lonely" / "one.png")
    manifest, output = tmp_path / "images.parquet", tmp_path / "split"
    done("data", "scan", photos, "-o", manifest)
    known = refused("split", manifest, "-o", output, "--known", "a,lonely")
    assert "known class 'lonely' has too few groups" in known
    missing = refused("split", manifest, "-o", output, "--protocol", "owdfa40/p1")
    assert "the manifest has no images of" in missing
    assert "no class 'aa'; did you mean 'a'?" in refused(
        "split", manifest, "-o", output, "--known", "aa"
    )
    assert "no such file" in refused("split", tmp_path / "none.parquet", "-o", output)
    assert not output.exists()
    assert "novel class 'lonely'" in done("split", manifest, "-o", output, "--known", "a")


def test_settings_that_are_refused(data, tmp_path):
    train = ["train", "--split", data.split, "-o", tmp_path / "run", *SET]
    assert "did you mean 'lr'" in refused(*train, "--set", "optimiser.lrr=1")
    assert "epochs" in refused(*train, "--set", "epochs=many")
    assert "--set epochs: write it as name=value" in refused(*train, "--set", "epochs")
    assert "no method named 'cla'; did you mean 'cal'?" in refused(*train, "--method", "cla")
    assert "no.toml" in refused(*train, "--config", tmp_path / "no.toml")
    assert not (tmp_path / "run").exists()


def test_a_split_of_other_images_is_refused(data, run, tmp_path):
    other = make_data(tmp_path / "other", per_class=13)
    table = Manifest.read(data.manifest)
    table.write(other.manifest)  # now it names the store of the first
    line = refused("train", "--split", other.split, "-o", tmp_path / "run", *SET)
    assert "split the manifest again" in line
    assert not (tmp_path / "run").exists()
    done("predict", run, "split:test", "-o", tmp_path / "p.parquet")
    output = tmp_path / "scores.json"
    line = refused("score", tmp_path / "p.parquet", "--split", other.split, "-o", output)
    assert "give --split the split of the run" in line
    assert not output.exists()


def test_runs_that_are_refused(run, data, tmp_path):
    output = tmp_path / "p.parquet"
    assert "run.json: no such file" in refused("predict", tmp_path, "split:test", "-o", output)
    assert "run.json: no such file" in refused("report", tmp_path, "-o", tmp_path / "r.html")
    broken = tmp_path / "broken"
    done("train", "--split", data.split, "-o", broken, *SET)
    settings = broken / "settings.toml"
    settings.write_text(settings.read_text().replace('classes = "auto"', "classes = 9"))
    line = refused("predict", broken, "split:test", "-o", output)
    assert "another network or number of classes" in line
    for file in (broken / "checkpoints" / "last").iterdir():
        file.unlink()
    line = refused("predict", broken, "split:test", "-o", output)
    assert "no checkpoint is here" in line
    assert "add --resume" in refused("train", "--split", data.split, "-o", run, *SET)
    assert not output.exists()


def test_predictions_name_what_they_leave_out(run, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    odd = photos / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((photos / "a" / "0.png").read_bytes())
    output = tmp_path / "p.parquet"
    line = refused("predict", run, photos, "-o", output)
    assert "1 of 42 images cannot be used" in line
    assert not output.exists()
    said = done("predict", run, photos, "-o", output, "--max-bad", 1)
    assert "41 images" in said
    assert "predicted type" in said
    assert "left out: broken.png: is not an image" in said


def test_places_that_cannot_be_written(photos, run, data, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for args in (
        ("data", "scan", photos, "-o", file / "images.parquet"),
        ("split", data.manifest, "--known", "real,swap", "-o", file / "split"),
        ("train", "--split", data.split, "-o", file / "run", *SET),
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


def test_a_disk_that_fills_up_under_the_log(data, tmp_path, monkeypatch):
    def full(self, kind, values):
        raise OSError(28, "No space left on device", "log.jsonl")

    monkeypatch.setattr("owdfa.runs.tracking.Log.write", full)
    line = refused("train", "--split", data.split, "-o", tmp_path / "run", *SET)
    assert line == "owdfa: log.jsonl: the disk is full; free some space and run the command again"


@pytest.mark.parametrize(
    "args", [("train",), ("split", "x"), ("data", "scan", "x"), ("score", "x"), ("nothing",)]
)
def test_usage_mistakes_are_short(args):
    ended = cli(*args)
    assert ended.status == 2
    assert len(ended.stderr.splitlines()) <= 5
    assert "--help" in ended.stderr


def test_a_hub_out_of_reach_is_not_waited_for(monkeypatch, tmp_path, data):
    monkeypatch.setattr("owdfa.backbones.timm._within_reach", lambda address: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the client tries again"))
    hub = ["--set", "backbone.name=timm/resnet10t.c3_in1k", "--weights", "hub"]
    line = refused("train", "--split", data.split, "-o", tmp_path / "run", *SET, *hub)
    assert "--weights FILE" in line
    assert not (tmp_path / "run").exists()
