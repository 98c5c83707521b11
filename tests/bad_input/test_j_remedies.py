"""J. The one line names what is wrong and what helps; what is unambiguous is accepted."""

import codecs
import io
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as safetensors

from command_line import done, refused
from owdfa.cli.stages import names
from owdfa.datasets import csv, folder
from owdfa.errors import UserError
from owdfa.records.manifest import Manifest
from owdfa.weights import load_weights, read_state

STATE = {"conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.zeros(2)}


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/weights.pth", b"w")
    return stream.getvalue()


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


NO_WEIGHTS = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html>\n<html>", "an HTML page; .*fetch it from the link"),
    "answer": (b'{"message": "Not found"}', "JSON; "),
    "archive": (zipped(), "a ZIP archive; unpack it"),
    "onnx": (b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0", "ONNX; .*owdfa predict takes"),
    "empty": (b"", "empty; fetch it again"),
    "cut": (saved(STATE)[:-60], "cut off; fetch it again"),
    "photo": (b"\x89PNG\r\n\x1a\n\0\0", r"\(PNG\); name a file of weights"),
    "other": (bytes(range(200, 256)), r"\(of an unknown kind\); name a file of weights"),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.ckpt", "w"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_handed_over_in_place_of_weights_is_named(tmp_path, kind, name):
    content, message = NO_WEIGHTS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message if name != "w.safetensors" else name) as error:
        read_state(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "state dict alone" not in str(error.value)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "network"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder.encoder.", "model."])
def test_a_state_dict_in_a_checkpoint_is_found(tmp_path, key, prefix):
    state = {prefix + name: value for name, value in STATE.items()}
    path = tmp_path / "w.pth"
    path.write_bytes(saved({"epoch": 3, "optimizer": {"lr": 0.1}, key: state}))
    network = torch.nn.Module()
    network.conv = torch.nn.Conv2d(1, 2, 3)
    load_weights(network, path)
    assert torch.equal(network.conv.weight, STATE["conv.weight"])


def test_a_network_with_a_part_called_model_is_no_checkpoint(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(saved({"model": torch.ones(1), "net": torch.ones(2)}))
    assert set(read_state(path)) == {"model", "net"}


def test_safetensors_of_any_name_are_read(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(safetensors(STATE))
    assert set(read_state(path)) == set(STATE)


def test_a_checkpoint_without_weights_says_what_it_has(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(saved({"epoch": 3, "loss": 0.1}))
    with pytest.raises(UserError, match="holds no weights; it has 'epoch', 'loss'"):
        read_state(path)


def listed(tmp_path, content):
    file = tmp_path / "list.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(entry.id, entry.class_) for entry in csv.read(str(file))]


ROWS = "path,class\n1.png,a\n2.png,\n"
EXPECTED = [("1.png", "a"), ("2.png", None)]


@pytest.mark.parametrize(
    "content",
    [
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("path,class", "Path, CLASS"),
        ROWS.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + ROWS.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + ROWS.encode("utf-16-be"),
        ",path,class\n0,1.png,a\n1,2.png,\n",
        "Unnamed: 0,path,class\n0,1.png,a\n1,2.png,\n",
        "Unnamed: 0.1,Unnamed: 0,path,class\n0,0,1.png,a\n1,1,2.png,\n",
        "path;class;\n1.png;a;\n2.png;;\n",
        ";path;class\n0;1.png;a\n1;2.png;\n",
    ],
    ids=lambda content: repr(content)[:30],
)
def test_lists_as_programs_write_them_are_read(tmp_path, content):
    assert listed(tmp_path, content) == EXPECTED


def test_a_cell_may_hold_the_other_separators(tmp_path):
    assert listed(tmp_path, 'path,class\n"a;b.png","x, y"\n') == [("a;b.png", "x, y")]
    assert listed(tmp_path, "path;class\na,b.png;x\ty\n") == [("a,b.png", "x\ty")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path;klass\n1.png;a\n", "unknown column 'klass'"),
        ("path,label\n1.png,a\n", "unknown column 'label'"),
        (ROWS.encode("utf-16-le"), "is not CSV in UTF-8"),
        (zipped(), r"is not CSV in UTF-8 \(a ZIP archive\); save it as that"),
        ("path,class,\n1.png,a,x\n", "line 2: 'x' stands in a column without a name"),
    ],
)
def test_lists_that_are_none_are_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        listed(tmp_path, content)
    assert "\n" not in str(error.value)


def test_paths_of_windows_and_of_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a/1.png", r"a\2.png", "home/photos/b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text(
        "path,class\na\\1.png,a\n.\\a\\2.png,a\na\\2.png,a\n~/photos/b/3.png,b\n".replace(
            ".\\a\\2.png,a\n", ""
        )
    )
    entries = list(csv.read(str(tmp_path / "list.csv")))
    assert [entry.id for entry in entries] == ["a/1.png", r"a\2.png", "home/photos/b/3.png"]
    assert all(entry.path.is_file() for entry in entries)
    (tmp_path / "home" / "list.csv").write_text("path,class\nphotos/b/3.png,b\n")
    assert [entry.id for entry in csv.read("~/list.csv")] == ["photos/b/3.png"]
    assert [entry.id for entry in folder.read("~/photos")] == ["b/3.png"]


def test_the_home_folder_on_the_command_line(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("folder:~/photos", "~/photos"):
        assert "40 images" in done("data", "scan", source, "-o", tmp_path / "images.parquet")
    line = refused("data", "scan", "folder:~nobody-here/photos", "-o", tmp_path / "x.parquet")
    assert "no such file" in line


def test_a_class_with_a_comma_can_be_named(photos, tmp_path):
    (photos / "a").rename(photos / "swap, face")
    manifest = tmp_path / "images.parquet"
    done("data", "scan", photos, "-o", manifest)
    assert set(Manifest.read(manifest).table["class"].to_pylist()) == {"swap, face", "b"}
    said = done("split", manifest, "-o", tmp_path / "split", "--known", '"swap, face"')
    assert "1 known and 1 novel" in said
    assert names('"a, b", c ,d') == ("a, b", "c", "d")
    assert names("a,b") == ("a", "b")
    assert Path(tmp_path / "split" / "split.json").is_file()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,klass", "1.png,a"], "unknown column 'klass'"),
        (["path", "1.png"], "has no column 'class'"),
        (["path,class", "1.png,a", "1.png,b"], "lines 2 and 3 name the same file"),
        (["path,class"], "no images there"),
    ],
)
def test_lists_that_are_refused(tmp_path, lines, message):
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    line = refused("data", "scan", f"csv:{tmp_path / 'list.csv'}", "-o", tmp_path / "out.parquet")
    assert message in line
    assert "list.csv" in line
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]
