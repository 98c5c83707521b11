"""A. A writer replaces only a file of the kind that it writes, and never one of its inputs."""

import json
import shutil

import pytest
from PIL import Image

from command_line import cli, done, refused
from owdfa.errors import UserError
from owdfa.files import write_json, write_text


def a_photo(path):
    Image.new("RGB", (12, 12)).save(path, "PNG")


FOREIGN = {
    "photo": a_photo,
    "notes": lambda path: path.write_text("mind the gap: first\n"),
    "list": lambda path: path.write_text("path,class\n1.png,a\n"),
    "json": lambda path: path.write_text('{"mine": 1}\n'),
    "html": lambda path: path.write_text("<!doctype html><title>mine</title>\n"),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
}


@pytest.fixture(scope="module")
def predictions(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "p.parquet"
    done("predict", run, "split:test", "-o", path)
    return path


def commands(data, run, predictions, photos):
    """Every command that writes one file, without -o."""
    return {
        "scan": ("data", "scan", photos),
        "predict": ("predict", run, "split:test"),
        "score": ("score", predictions, "--split", data.split),
        "report": ("report", run),
        "export": ("export", run),
    }


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["scan", "predict", "score", "report", "export"])
def test_a_file_of_the_user_is_never_replaced(data, run, predictions, photos, tmp_path, name, kind):
    output = tmp_path / "mine"
    FOREIGN[kind](output)
    before = output.read_bytes()
    line = refused(*commands(data, run, predictions, photos)[name], "-o", output)
    assert str(output) in line
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "photos"]


@pytest.mark.parametrize("name", ["scan", "predict", "score", "report", "export"])
def test_what_a_command_wrote_and_what_is_empty_is_replaced(
    data, run, predictions, photos, tmp_path, name
):
    if name == "export":
        pytest.importorskip("onnx")
    args = commands(data, run, predictions, photos)[name]
    output = tmp_path / "made"
    output.touch()
    for _ in range(2):
        done(*args, "-o", output)
    made = output.read_bytes()
    others = {"scan", "predict", "score", "report", "export"} - {name}
    for other in sorted(others):
        assert str(output) in refused(
            *commands(data, run, predictions, photos)[other], "-o", output
        )
    assert output.read_bytes() == made


def test_an_input_is_never_the_output(photos, run, tmp_path):
    (tmp_path / "list.csv").write_text("path,class\nphotos/a/0.png,a\n")
    for args in (
        ("data", "scan", f"csv:{tmp_path / 'list.csv'}", "-o", tmp_path / "list.csv"),
        ("data", "scan", photos, "-o", photos / "a" / "0.png"),
        ("predict", run, photos, "-o", photos / "a" / "0.png"),
        ("predict", run, photos, "-o", run / "run.json"),
        ("data", "scan", photos, "-o", photos),
    ):
        before = args[-1].is_dir() or args[-1].read_bytes()
        assert str(args[-1]) in refused(*args)
        assert before == (args[-1].is_dir() or args[-1].read_bytes())


def test_a_folder_that_holds_the_users_files_keeps_them(data, settings, tmp_path):
    mine = {name: tmp_path / name for name in ("settings.toml", "run.json", "split.json")}
    for path in mine.values():
        path.write_text('{"mine": 1}')
    refused("split", data.manifest, "--known", "real", "-o", tmp_path)
    refused("train", "--split", data.split, "-o", tmp_path, *settings)
    mine["run.json"].unlink()
    line = refused("train", "--split", data.split, "-o", tmp_path, *settings)
    assert "settings.toml: exists and is not what this command writes there (JSON)" in line
    assert mine["settings.toml"].read_text() == mine["split.json"].read_text() == '{"mine": 1}'


def test_a_log_and_a_checkpoint_of_the_user_are_kept(data, settings, tmp_path):
    log, weights = tmp_path / "log.jsonl", tmp_path / "other/checkpoints/last/weights.pt"
    log.write_text('{"epoch": 9}\n')
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"mine")
    assert "log.jsonl" in refused("train", "--split", data.split, "-o", tmp_path, *settings)
    assert log.read_text() == '{"epoch": 9}\n'
    line = refused("train", "--split", data.split, "-o", tmp_path / "other", *settings)
    assert "is not a checkpoint" in line
    assert weights.read_bytes() == b"mine"


def test_the_list_of_bad_files_replaces_no_other(photos, run, tmp_path):
    (photos / "a" / "bad.png").write_bytes(b"x")
    notes = tmp_path / "out.parquet.bad.txt"
    notes.write_text("photos/a: my notes\n")
    for args in (("data", "scan", photos), ("predict", run, photos)):
        line = refused(*args, "-o", tmp_path / "out.parquet", "--max-bad", 1)
        assert "out.parquet.bad.txt: exists and is not what this command writes" in line
    (photos / "a" / "bad.png").unlink()
    cli("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert notes.read_text() == "photos/a: my notes\n"


def test_the_list_of_copies_replaces_no_other(photos, tmp_path):
    copies = tmp_path / "out.parquet.copies.txt"
    copies.write_text("mine")
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "0.png").read_bytes())
    line = refused("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert "out.parquet.copies.txt: exists and is not what this command writes" in line
    (photos / "b" / "copy.png").unlink()
    done("data", "scan", photos, "-o", tmp_path / "out.parquet")
    assert copies.read_text() == "mine"


def test_a_device_is_no_output(photos):
    assert "/dev/null: is not a regular file" in refused("data", "scan", photos, "-o", "/dev/null")


def test_text_is_replaced_by_the_same_text_alone(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    write_text(path, "one")
    with pytest.raises(UserError, match="exists and is not what this command writes"):
        write_text(path, "two")
    assert path.read_text() == "one"


def test_json_replaces_an_earlier_state_of_itself(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"schema": 1, "a": 1, "b": 2})
    write_json(path, {"schema": 1, "a": 3, "b": 2, "c": 4})
    for other in ({"schema": 2, "a": 1, "b": 2, "c": 0}, {"a": 1}, [1]):
        with pytest.raises(UserError, match="exists and is not"):
            write_json(path, other)
    assert json.loads(path.read_text())["a"] == 3


def test_a_file_that_comes_while_the_stage_works_is_kept(photos, tmp_path, monkeypatch):
    output = tmp_path / "out.parquet"
    monkeypatch.setattr("owdfa.stages.scan.check_bad", lambda *_, **__: output.write_text("mine"))
    assert "exists and is not" in refused("data", "scan", photos, "-o", output)
    assert output.read_text() == "mine"


def test_a_store_is_not_made_over_a_folder_of_the_user(photos, tmp_path):
    manifest = tmp_path / "images.parquet"
    done("data", "scan", photos, "-o", manifest)
    line = refused("data", "prepare", manifest, "-o", photos, "--size", 8)
    assert str(photos) in line
    shutil.rmtree(photos / "b")
    assert (photos / "a" / "0.png").is_file()
