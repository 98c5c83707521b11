"""F. The structure of the classes is not taken on trust."""

import unicodedata

import pytest
from PIL import Image

from command_line import done, refused
from owdfa.datasets import csv, folder
from owdfa.errors import UserError
from owdfa.records.manifest import Manifest

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "réel") for form in ("NFC", "NFD"))


def classes(manifest):
    return set(Manifest.read(manifest).table["class"].to_pylist())


@pytest.mark.parametrize(
    "name",
    ["unlabelled", "unlabeled", "Unlabelled", "UNLABELED", "unknown", "_unlabeled", "_Unknown"],
)
def test_a_folder_called_like_no_class_is_none(photos, tmp_path, name):
    (photos / "b").rename(photos / name)
    line = refused("data", "scan", photos, "-o", tmp_path / "images.parquet")
    assert f"{photos / name}: no class is called so; did you mean '_unlabelled'? Rename it" in line
    (photos / name).rename(photos / "_unlabelled")
    done("data", "scan", photos, "-o", tmp_path / "images.parquet")
    assert classes(tmp_path / "images.parquet") == {"a", None}


@pytest.mark.parametrize(
    "name", ["-1", "nan", "NaN", "None", "null", "N/A", "unlabelled", "Unknown", "<NA>"]
)
def test_a_class_in_a_list_that_is_none(tmp_path, name):
    (tmp_path / "list.csv").write_text(f"path,class\n1.png,a\n2.png,{name}\n")
    with pytest.raises(UserError, match=rf"line 3: the class is '{name}'; leave the cell empty"):
        list(csv.read(str(tmp_path / "list.csv")))


def test_a_class_written_in_two_forms_of_unicode_is_one(photos, tmp_path):
    (photos / "a").rename(photos / COMPOSED)
    (photos / "b").rename(photos / DECOMPOSED)
    for number, name in enumerate(sorted((photos / DECOMPOSED).iterdir())):
        name.rename(name.with_name(f"b{number}.png"))
    manifest = tmp_path / "images.parquet"
    done("data", "scan", photos, "-o", manifest)
    assert classes(manifest) == {COMPOSED}
    text = (
        f"path,class\nphotos/{COMPOSED}/0.png,{COMPOSED}\nphotos/{DECOMPOSED}/b0.png,{DECOMPOSED}\n"
    )
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    assert {entry.class_ for entry in csv.read(str(tmp_path / "list.csv"))} == {COMPOSED}


def test_a_known_class_may_be_named_in_either_form(photos, tmp_path):
    (photos / "a").rename(photos / DECOMPOSED)
    manifest = tmp_path / "images.parquet"
    done("data", "scan", photos, "-o", manifest)
    for number, form in enumerate((COMPOSED, DECOMPOSED)):
        said = done("split", manifest, "-o", tmp_path / str(number), "--known", form)
        assert "1 known and 1 novel" in said


def test_a_system_folder_is_no_class(photos, tmp_path):
    for name in ("$RECYCLE.BIN", "lost+found", "@eaDir", "__MACOSX"):
        (photos / name).mkdir()
        (photos / name / "x.png").write_bytes((photos / "a" / "0.png").read_bytes())
    assert {entry.class_ for entry in folder.read(str(photos)) if not entry.passed_over} == {
        "a",
        "b",
    }


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


def test_folders_that_are_refused(photos, tmp_path):
    output = tmp_path / "images.parquet"
    assert "no such folder" in refused("data", "scan", tmp_path / "nowhere", "-o", output)
    assert "did you mean 'folder'" in refused("data", "scan", "foldr:x", "-o", output)
    (photos / "c").mkdir()
    assert "a class folder without images" in refused("data", "scan", photos, "-o", output)
    assert not output.exists()
