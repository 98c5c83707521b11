"""That it is said when the form of the files gives the class away, and only then."""

import numpy as np
import pyarrow as pa
import pytest

from owdfa.checks.shortcuts import COLUMNS, find_shortcut
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.split import SplitOptions, split
from small_manifest import singles, write_manifest


def images(*classes, seed=0):
    """A table of files; each class is (name, number, columns that are the same in all of it)."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, number, form in classes:
        for i in range(number):
            side = int(rng.integers(100, 900))
            row = {"id": f"{name}/{i:05}", "class": name, "width": side, "height": side + 3}
            row |= {"format": "JPEG", "bytes": int(side**2 * rng.uniform(0.1, 0.3))}
            row |= {"jpeg_quality": int(rng.integers(70, 99)), "group": f"{name}/{i:05}"}
            rows.append(row | form)
    return pa.Table.from_pylist(rows, SCHEMA)


def test_formats_of_their_own_give_two_classes_away():
    found = find_shortcut(
        images(
            ("real", 30, {"format": "JPEG", "width": 64, "height": 64, "bytes": 4096}),
            ("fake", 30, {"format": "PNG", "width": 48, "height": 48, "bytes": 2304}),
        )
    )
    assert (found.accuracy, found.chance, found.classes) == (1, 0.5, ())
    assert str(found).startswith(
        "format and size alone tell the classes apart with 100% (chance 50%)"
    )
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("form", "column"),
    [
        ({"format": "PNG"}, "format"),
        ({"width": 512}, "width"),
        ({"height": 512}, "height"),
        ({"jpeg_quality": 40}, "JPEG quality"),
        ({"bytes": 10**7}, "bytes per pixel"),
    ],
)
def test_every_column_is_looked_at(form, column):
    found = find_shortcut(images(("a", 60, {}), ("b", 60, form)))
    assert column in found.columns
    assert found.accuracy > 0.9


def test_one_class_among_many_is_named():
    """The balanced accuracy over all classes would be 7 % there, against 3 % by chance."""
    fakes = [(f"fake-{i:02}", 20, {"format": "PNG"}) for i in range(29)]
    found = find_shortcut(images(("real", 20, {}), *fakes))
    assert (found.accuracy, found.chance, found.classes) == (1, 0.5, ("real",))
    assert "format alone tells 'real' from the other classes with 100%" in str(found)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("classes", "number"), [(2, 10), (2, 40), (5, 12), (20, 30), (3, 400)])
def test_nothing_is_said_where_files_are_alike(seed, classes, number):
    form = [(f"class-{i}", number, {}) for i in range(classes)]
    assert find_shortcut(images(*form, seed=seed)) is None


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_a_video_do_not_give_the_class_away(seed):
    """Each video has a size of its own, which tells its other frames, and no other video."""
    rng = np.random.default_rng(seed)
    videos = [
        (name, 50, {"width": int(rng.integers(100, 900)), "group": f"{name}-{i}"})
        for name in ("a", "b")
        for i in range(20)
    ]
    table = images(*videos).sort_by("group")
    assert find_shortcut(table) is None


def test_the_outcome_is_the_same_every_time_and_for_many_images():
    table = images(("a", 15_000, {}), ("b", 15_000, {"format": "PNG"}))
    found = find_shortcut(table)
    assert found.accuracy == 1
    assert find_shortcut(table) == found


@pytest.mark.parametrize("classes", [[], [("a", 30, {})], [("a", 30, {}), ("b", 3, {})]])
def test_too_little_to_compare(classes):
    assert find_shortcut(images(*classes)) is None


def test_a_manifest_without_sizes_says_nothing():
    form = dict.fromkeys(("width", "height", "bytes", "format", "jpeg_quality"))
    assert find_shortcut(images(("a", 30, form), ("b", 30, form))) is None


def test_a_split_notes_it(tmp_path):
    path = write_manifest(tmp_path / "images.parquet", singles(real=30, b=30))
    manifest = Manifest.read(path)
    kinds = ["PNG" if name == "b" else "JPEG" for name in manifest.table["class"].to_pylist()]
    index = SCHEMA.get_field_index("format")
    table = manifest.table.set_column(index, SCHEMA.field(index), pa.array(kinds))
    Manifest(table, manifest.dataset).write(path)
    made = split(path, tmp_path / "split", options=SplitOptions(known=("real",)))
    assert len([note for note in made.notes if note.startswith("format alone tells")]) == 1
    assert set(COLUMNS) <= set(SCHEMA.names)
