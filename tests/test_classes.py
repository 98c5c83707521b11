"""What is said of the classes of a manifest."""

import unicodedata

import pyarrow as pa
import pytest

from command_line import done
from owdfa.checks.classes import ClassSize, class_sizes, doubtful_classes
from owdfa.records.manifest import SCHEMA
from small_photos import image


def table(*ids, groups=None):
    """Images whose class is the first folder of their id; a group each unless given."""
    rows = [
        {"id": id_, "class": id_.split("/")[0] if id_[0] != "_" else None, "group": group}
        for id_, group in zip(ids, groups or ids, strict=True)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def frames(*folders, number=6, suffix=""):
    return [f"{folder}{suffix}/{i:03}.png" for folder in folders for i in range(number)]


VIDEOS = ("real/v1", "real/v2", "fake/v3", "fake/v4")


def test_images_and_groups_are_counted_by_class():
    ids = ["s10/1", "s10/2", "s2/1", "s10/3", "_unlabelled/x", "s2/2"]
    sizes = class_sizes(table(*ids, groups=["a", "a", "a", "b", None, None]))
    assert sizes == [ClassSize("s2", 2, 2), ClassSize("s10", 3, 2), ClassSize(None, 1, 1)]
    assert class_sizes(table()) == []


def test_nothing_is_said_of_plain_classes():
    assert doubtful_classes(table(*frames("real", "swap", "paint"), "_unlabelled/x.png")) == []
    assert doubtful_classes(table()) == []


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("Real", "real"), "'Real', 'real'"),
        ((unicodedata.normalize("NFC", "réel"), unicodedata.normalize("NFD", "réel")), "\\u0301"),
    ],
)
def test_names_that_read_alike_are_told(names, shown):
    (line,) = doubtful_classes(table(*frames(*names), *frames("other")))
    assert shown in line
    assert "give them one name if they are one class" in line


def test_parts_of_a_split_are_no_classes():
    ids = frames("train/real", "train/fake", "test/real", "test/fake")
    (line,) = doubtful_classes(table(*ids))
    assert line.startswith("classes 'test', 'train' are named like parts of a split")
    assert "(fake, real); scan one of them, folder:.../train" in line
    assert doubtful_classes(table(*frames("train/a", "test/b"))) == []


def test_videos_without_groups_are_told():
    (line,) = doubtful_classes(table(*frames(*VIDEOS)))
    assert line.startswith("4 folders below the classes hold 24 images")
    assert "scan with --group-level 2," in line
    assert doubtful_classes(table(*frames(*VIDEOS), groups=["v"] * 24)) == []
    assert doubtful_classes(table(*frames(*VIDEOS, number=2))) == []  # too few to be videos


def test_the_level_of_videos_is_that_which_tells_them_apart():
    deep = [video.replace("/", "/swap-method/") for video in VIDEOS]
    assert "--group-level 3," in doubtful_classes(table(*frames(*deep)))[0]
    assert "--group-level 2," in doubtful_classes(table(*frames(*VIDEOS, suffix="/frames")))[0]


def test_where_some_images_lie_in_no_folder_a_pattern_names_the_videos():
    (line,) = doubtful_classes(table(*frames(*VIDEOS), "real/alone.png"))
    assert "--group-regex '^[^/]+/([^/]+)'" in line


def test_a_scan_prints_classes_and_notes(tmp_path):
    for number, name in enumerate(frames(*VIDEOS)):
        image(tmp_path / "photos" / name, number)
    output = tmp_path / "images.parquet"
    printed = done("data", "scan", tmp_path / "photos", "-o", output).splitlines()
    assert printed[1].split() == ["class", "images", "groups"]
    assert printed[2].split() == ["fake", "12", "12"]
    (note,) = [line for line in printed if line.startswith("note: ")]
    assert "--group-level 2" in note
    printed = done("data", "scan", tmp_path / "photos", "-o", output, "--group-level", 2)
    assert printed.splitlines()[2].split() == ["fake", "12", "2"]
    assert "note: " not in printed


def test_the_remedy_for_flat_images_works(tmp_path):
    for number, name in enumerate([*frames(*VIDEOS), "real/alone.png"]):
        image(tmp_path / "photos" / name, number)
    arguments = ("data", "scan", tmp_path / "photos", "-o", tmp_path / "images.parquet")
    printed = done(*arguments, "--group-regex", "^[^/]+/([^/]+)")
    assert "note: " not in printed
    assert ["real", "13", "3"] in [line.split() for line in printed.splitlines()]


def test_very_many_classes_are_cut_short(tmp_path):
    for number in range(70):
        image(tmp_path / "photos" / f"class-{number}" / "x.png", number)
    printed = done("data", "scan", tmp_path / "photos", "-o", tmp_path / "images.parquet")
    assert "class-59 " in printed
    assert "class-60 " not in printed
    assert "... and 10 more classes with 10 images" in printed
