"""I. What is around the program, such as the terminal's encoding, ends nothing in a traceback."""

import io
import os
import sys

import pytest

from command_line import done, refused
from owdfa.cli.main import main

ACCENTED = "réel"
NOT_UTF8 = os.fsdecode(b"sortie\xe9")


@pytest.fixture
def ascii_terminal(monkeypatch):
    """What runs a command on streams as ``PYTHONIOENCODING=ascii`` makes them, and reads them."""

    def run(*args):
        written = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(written, "ascii", write_through=True))
        monkeypatch.setattr(sys, "argv", ["owdfa", *map(str, args)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        sys.stdout.flush()
        said = written.getvalue().decode(errors="backslashreplace")
        for name in ("stdout", "stderr"):
            getattr(sys, name).detach()
        monkeypatch.undo()
        assert status == 0, said
        return said

    return run


def test_every_stage_with_names_that_the_terminal_cannot_show(
    photos, settings, tmp_path, ascii_terminal
):
    (photos / "a").rename(photos / ACCENTED)
    (photos / ACCENTED / "0.png").write_bytes(b"no image")
    out = tmp_path / NOT_UTF8
    out.mkdir()
    manifest, split, run = out / "images.parquet", out / "split", tmp_path / "run"
    predictions = out / "p.parquet"
    said = ascii_terminal("data", "scan", photos, "-o", manifest, "--max-bad", 1)
    assert "images.parquet: 40 images" in said
    ascii_terminal("data", "prepare", manifest, "-o", out / "store", "--size", 32)
    ascii_terminal("split", manifest, "-o", split, "--known", ACCENTED)
    ascii_terminal("train", "--split", split, "-o", run, *settings)
    said = ascii_terminal("predict", run, photos, "-o", predictions, "--max-bad", 1)
    assert "0.png" in said
    ascii_terminal("predict", run, "split:test", "-o", predictions)
    ascii_terminal("predict", run, "split:test", "-o", out / "p.csv")
    ascii_terminal("score", predictions, "--split", split, "-o", out / "scores.json")
    ascii_terminal("report", run, "-o", out / "report.html")
    ascii_terminal("export", run, "-o", out / "model.onnx")
    ascii_terminal("predict", out / "model.onnx", "split:test", "--split", split, "-o", predictions)
    assert {"p.parquet", "scores.json", "report.html"} <= {path.name for path in out.iterdir()}


def test_training_refuses_a_folder_that_its_log_cannot_be_written_to(data, settings, tmp_path):
    line = refused("train", "--split", data.split, "-o", tmp_path / NOT_UTF8, *settings)
    assert "its name is not UTF-8" in line
    assert not list(tmp_path.iterdir())


def test_a_class_with_an_accent_is_shown_where_the_terminal_can(photos, tmp_path):
    (photos / "a").rename(photos / ACCENTED)
    manifest = tmp_path / "images.parquet"
    done("data", "scan", photos, "-o", manifest)
    said = done("split", manifest, "-o", tmp_path / "split", "--known", ACCENTED)
    assert "1 known and 1 novel" in said


def test_a_hub_out_of_reach_is_not_waited_for(monkeypatch, tmp_path, data, settings):
    monkeypatch.setattr("owdfa.backbones.timm._within_reach", lambda address: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the client tries again"))
    hub = ["--set", "backbone.name=timm/resnet10t.c3_in1k", "--weights", "hub"]
    line = refused("train", "--split", data.split, "-o", tmp_path / "run", *settings, *hub)
    assert "--weights FILE" in line
    assert not (tmp_path / "run").exists()
