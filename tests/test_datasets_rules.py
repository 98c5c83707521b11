"""Each data set's own rules."""

import os
import tomllib
from pathlib import Path

import pytest

from data_set_samples import sample_folder, sample_owdfa40, touch
from owdfa import catalog
from owdfa.datasets import csv, folder, owdfa40
from owdfa.datasets.base import ImageEntry
from owdfa.errors import UserError


def test_folder_names_the_classes(tmp_path: Path) -> None:
    entries = {entry.id: entry for entry in folder.read(sample_folder(tmp_path))}
    assert {identity: entry.class_ for identity, entry in entries.items()} == {
        "a/1.png": "a",
        "a/deep/er/2.png": "a",
        "b/1.png": "b",
        "_unlabelled/x.png": None,
        "y.JPG": None,
    }
    assert all(entry.group == identity for identity, entry in entries.items())


def test_folder_passes_over_hidden_files_and_documents_in_the_root(tmp_path: Path) -> None:
    touch(
        tmp_path, "README.md", ".git/a.png", "a/.DS_Store", "a/Thumbs.db", "a/1.png", "a/note.txt"
    )
    listed = {entry.id: entry.passed_over for entry in folder.read(str(tmp_path))}
    assert listed == {
        ".git": "hidden",
        "README.md": "not an image (empty)",
        "a/.DS_Store": "hidden",
        "a/Thumbs.db": "a system's own file",
        "a/1.png": None,
        "a/note.txt": "not an image (empty)",
    }


def test_folder_refuses_an_empty_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/.hidden")
    with pytest.raises(UserError, match="b: a class folder without images"):
        list(folder.read(str(tmp_path)))


def test_folder_refuses_a_misspelt_folder_of_unlabelled_images(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "_unlabeled/1.png")
    with pytest.raises(UserError, match="did you mean '_unlabelled'"):
        list(folder.read(str(tmp_path)))


def test_folder_lists_in_order_whatever_the_disk_does(tmp_path: Path) -> None:
    names = ["a/2.png", "a/10.png", "a/b/1.png", "a-b/1.png", "B/x.png", "a/é.png"]
    touch(tmp_path, *names)
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "B")
    found = folder.files_below(tmp_path)
    assert [each.path.relative_to(tmp_path).as_posix() for each in found] == [
        "B/x.png",
        "a/10.png",
        "a/2.png",
        "a/gone.png",
        "a/é.png",
        "a/b/1.png",
        "a/linked/x.png",
        "a-b/1.png",
    ]


def test_folder_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "elsewhere")
    assert [entry.id for entry in folder.read(str(root))] == ["a/1.png"]
    (tmp_path / "elsewhere" / "again").symlink_to(root / "a")
    with pytest.raises(UserError, match="leads back to"):
        list(folder.read(str(root)))


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", forbidden)  # root may list whatever its mode says
    with pytest.raises(UserError, match="permission denied"):
        list(folder.read(str(tmp_path)))


def listed_csv(tmp_path: Path, text: str) -> list[ImageEntry]:
    (tmp_path / "list.csv").write_text(text)
    return list(csv.read(str(tmp_path / "list.csv")))


def test_csv_reads_every_column(tmp_path: Path) -> None:
    text = "class,path,family,source,group,width,height\n s1 ,x/1.png,swap,ff,v7,9,9\n"
    assert listed_csv(tmp_path, "\ufeff" + text) == [
        ImageEntry("x/1.png", tmp_path / "x/1.png", "s1", "swap", "ff", "v7")
    ]


def test_csv_with_empty_cells_and_lines(tmp_path: Path) -> None:
    (entry,) = listed_csv(tmp_path, "path,class,family,group\n\n1.png,,,\n\n")
    assert entry == ImageEntry("1.png", tmp_path / "1.png", None, None, None, "1.png")


def test_csv_paths_may_be_absolute_or_lead_out(tmp_path: Path) -> None:
    text = f"path,class\n{tmp_path}/in.png,a\n/elsewhere/x.png,a\n../up.png,a\n"
    entries = listed_csv(tmp_path, text)
    assert [entry.id for entry in entries] == ["in.png", "/elsewhere/x.png", "../up.png"]
    assert entries[2].path == tmp_path.parent / "up.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'path'"),
        ("path,group\n", "has no column 'class'"),
        ("path,clas\n1.png,a\n", "unknown column 'clas'; did you mean 'class'"),
        ("path,class,\n1.png,a,b\n", "line 2: 'b' stands in a column without a name"),
        ("path,class,class\n1.png,a,b\n", "two columns are named 'class'"),
        ("path,class\n1.png\n", "line 2: 1 cells under 2 columns"),
        ("path,class\n1.png,a,b\n", "line 2: 3 cells under 2 columns"),
        ("path,class\n1.png,a\n ,b\n", "line 3: the path is empty"),
        ('path,class\n"1.png,a\n', "is not CSV"),
        ("path,class\n1.png,a\n2.png,a\n1.png,b\n", "lines 2 and 4 name the same file '1.png'"),
        ("path,class\nx/1.png,a\n./x/../x/1.png,a\n", "lines 2 and 3 name the same file"),
    ],
)
def test_csv_refuses_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        listed_csv(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "list.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_tells_rows_apart_whose_hashes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "hash", len, raising=False)
    text = "path,class\n1.png,a\n2.png,a\n10.png,a\n3.png,a\n"
    assert [entry.id for entry in listed_csv(tmp_path, text)] == [
        "1.png",
        "2.png",
        "10.png",
        "3.png",
    ]
    with pytest.raises(UserError, match=r"lines 3 and 6 name the same file '2\.png'"):
        listed_csv(tmp_path, text + "2.png,b\n")


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path,class\né.png,a\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not CSV in UTF-8"):
        list(csv.read(str(tmp_path / "list.csv")))


def test_owdfa40_has_41_classes_in_42_folders() -> None:
    table = owdfa40._table()
    assert [int(name.split("_")[0]) for name in owdfa40.folders()] == [0, *range(41)]
    assert len({class_.code for class_ in table.values()}) == 41
    assert all(name.split("_")[1].lower() == table[name].family for name in table)


@pytest.mark.parametrize(
    ("protocol", "labelled", "unlabelled", "test"),
    [("p1", 33600, 37600, 17800), ("p2", 26400, 42400, 17200), ("p3", 45600, 29600, 18800)],
)
def test_owdfa40_protocols_give_the_published_numbers_of_images(
    protocol: str, labelled: int, unlabelled: int, test: int
) -> None:
    table = tomllib.loads(catalog.text("protocols", "owdfa40"))
    known, novel, budget = table[protocol]["known"], table[protocol]["novel"], table["budget"]
    assert sorted(known + novel) == sorted(row["code"] for row in table["class"])
    total = (len(known) - 1) * budget["known"] + budget["real"] + len(novel) * budget["novel"]
    tested = table["ratios"]["test"] * total
    shown = (total - len(novel) * budget["novel"]) * (1 - table["ratios"]["test"])
    shown *= table["ratios"]["labelled"]
    assert round(tested) == test
    assert round(shown) == labelled
    assert round(total - tested - shown) == unlabelled


def test_owdfa40_joins_the_folders_of_real_faces(tmp_path: Path) -> None:
    entries = list(owdfa40.read(sample_owdfa40(tmp_path)))
    assert [(item.id, item.class_, item.family, item.source) for item in entries] == [
        ("0_Real_CelebDF/1.png", "REAL", "real", "Celeb-DF"),
        ("0_Real_FF++/1.png", "REAL", "real", "FaceForensics++"),
        ("4_Swap_FaceShifter/v_1.png", "S4", "swap", "ForgeryNet"),
    ]


def test_owdfa40_keeps_the_frames_of_a_video_together(tmp_path: Path) -> None:
    touch(tmp_path, *[f"1_Swap_Deepfakes/{video}_{frame}.png" for video in "ab" for frame in "12"])
    touch(tmp_path, "3_Swap_DeepFaceLab/img_1.png", "3_Swap_DeepFaceLab/img_2.png")
    groups = {entry.id: entry.group for entry in owdfa40.read(str(tmp_path))}
    assert groups["1_Swap_Deepfakes/a_1.png"] == groups["1_Swap_Deepfakes/a_2.png"]
    assert len(set(groups.values())) == 4, "'img' is no video: its files stand alone"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1_Swap_Deepfake/1.png"], "is no class folder of OWDFA-40; .*'1_Swap_Deepfakes'"),
        (["1_Swap_Deepfakes/.part"], "a class folder without images"),
        (["1.png"], "no class folder there"),
    ],
)
def test_owdfa40_refuses(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        list(owdfa40.read(str(tmp_path)))


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/" + os.fsdecode(b"caf\xe9.png"))
    (entry,) = folder.read(str(tmp_path))
    assert entry.path.is_file()
