"""That copies of a file are found, refused under two labels, and never on both sides of a split."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owdfa.checks import duplicates
from owdfa.errors import UserError
from owdfa.listings import read_listing
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.split import Split
from owdfa.stages.scan import scan
from owdfa.stages.split import SplitOptions, split
from small_manifest import singles, write_manifest
from small_photos import LENIENT, image, make_photos, rows


def column(values, kind=None):
    return pa.chunked_array([values], kind)


def with_column(path, name, values):
    """Replace a column of a manifest."""
    manifest = Manifest.read(path)
    index = SCHEMA.get_field_index(name)
    table = manifest.table.set_column(
        index, SCHEMA.field(index), column(values, SCHEMA.types[index])
    )
    Manifest(table, manifest.dataset).write(path)
    return path


def with_contents(path, contents):
    return with_column(path, "sha256", [f"{number:064x}" for number in contents])


# --- in the manifest's columns


def test_contents_are_equal_for_equal_bytes_and_null_equals_nothing():
    content = duplicates.contents(column(["x", None, "y", "x", None], pa.string()))
    assert content[0] == content[3]
    assert len(set(content.tolist())) == 4
    assert duplicates.num_copies(content) == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_groups_that_share_bytes_become_one_even_through_others(images):
    groups = np.array([group for group, _ in images], dtype=np.int64)
    content = np.array([kind for _, kind in images], dtype=np.int64)
    joined = duplicates.join_copies(groups, content)
    expected = groups.copy()  # by hand: lower numbers until nothing changes
    for _ in range(len(images)):
        for i, j in ((i, j) for i in range(len(images)) for j in range(len(images))):
            if groups[i] == groups[j] or content[i] == content[j]:
                expected[i] = expected[j] = min(expected[i], expected[j])
    assert joined.tolist() == expected.tolist()


@pytest.mark.parametrize("bits", range(5))
def test_images_look_alike_up_to_two_bits(bits):
    rng = np.random.default_rng(bits)
    hashes = rng.integers(1, 2**63, 500, dtype=np.uint64)
    pairs = [(hash_, rng.choice(64, bits, replace=False)) for hash_ in hashes]
    other = [int(hash_) ^ sum(1 << int(bit) for bit in flip) for hash_, flip in pairs]
    labels = np.repeat([0, 1], 500)
    both = column(np.append(hashes, np.array(other, dtype=np.uint64)))
    (found,) = duplicates.look_alikes(both, labels)
    assert found.tolist() == [bits <= duplicates.MAX_BITS] * 1000


def test_neither_equal_labels_nor_plain_images_nor_those_without_a_label_look_alike():
    hashes = column([7, 7, 0, 0, 9 << 40, 9 << 40, None], pa.uint64())
    one, other = np.array([0, 0, 0, 1, 0, -1, 1]), np.array([0, 1, 0, 1, 5, 6, 1])
    found = duplicates.look_alikes(hashes, one, other)
    assert [np.flatnonzero(flags).tolist() for flags in found] == [[], [0, 1, 4, 5]]


def test_no_images_look_alike():
    (found,) = duplicates.look_alikes(column([], pa.uint64()), np.array([], dtype=np.int64))
    assert found.tolist() == []


# --- in a scan


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


@pytest.mark.parametrize("kind", ["copy", "link", "hard link", "linked folder"])
def test_a_scan_refuses_the_same_bytes_under_two_classes(tmp_path, kind):
    photos = make_photos(tmp_path)
    first, second = photos / "a/v1/1.png", photos / "b" / "again.png"
    if kind == "copy":
        copy(first, second)
    elif kind == "link":
        second.symlink_to(first)
    elif kind == "hard link":
        second.hardlink_to(first)
    else:
        (photos / "b" / "again").symlink_to(first.parent)
        second = photos / "b" / "again" / "1.png"
    with pytest.raises(UserError) as caught:
        scan(str(photos), tmp_path / "images.parquet")
    message = str(caught.value)
    assert message.startswith(
        f"{first} (a) and {second} (b): have the same bytes under two classes"
    )
    assert "remove one of the two, or give both one class" in message
    assert not (tmp_path / "images.parquet").exists()
    listed = read_listing(tmp_path / "images.parquet.copies.txt")
    assert listed[0] == f"{first} (a) and {second} (b)"
    assert len(listed) == (2 if kind == "linked folder" else 1)


def test_the_list_of_copies_goes_with_the_copies(tmp_path):
    photos = make_photos(tmp_path)
    copy(photos / "a/v1/1.png", photos / "b" / "again.png")
    with pytest.raises(UserError, match="same bytes"):
        scan(str(photos), tmp_path / "images.parquet")
    (photos / "b" / "again.png").unlink()
    scan(str(photos), tmp_path / "images.parquet")
    assert not (tmp_path / "images.parquet.copies.txt").exists()


def test_copies_in_one_class_or_without_a_label_are_listed_as_they_are(tmp_path):
    photos = make_photos(tmp_path)
    copy(photos / "a/v1/1.png", photos / "a" / "again.png")
    copy(photos / "a/v1/1.png", photos / "_unlabelled" / "found.png")
    found = rows(scan(str(photos), tmp_path / "images.parquet"))
    assert found["a/again.png"]["sha256"] == found["_unlabelled/found.png"]["sha256"]


def test_bad_files_are_no_copies(tmp_path):
    photos = make_photos(tmp_path)
    for name in ("a", "b"):
        (photos / name / "bad.png").write_bytes(b"no picture")
    manifest = scan(str(photos), tmp_path / "images.parquet", options=LENIENT)
    assert manifest.usable().table.num_rows == 6


# --- in a split


def test_no_test_image_has_bytes_that_are_trained_on(tmp_path):
    """Twenty files and a byte copy of each, in every class, and no groups."""
    manifest = tmp_path / "images.parquet"
    for number, name in enumerate(["real", "swap", "paint"]):
        for i in range(20):
            picture = image(tmp_path / "photos" / name / f"{i}.png", 3 * i + number)
            copy(picture, tmp_path / "photos" / name / "copies" / f"{i}.png")
    scan(str(tmp_path / "photos"), manifest)
    made = split(manifest, tmp_path / "split", options=SplitOptions(known=("real", "swap")))
    sides = {
        test: {row["sha256"] for row in made.table.to_pylist() if (row["role"] == "test") == test}
        for test in (False, True)
    }
    assert len(sides[True]) == 12
    assert not sides[True] & sides[False]
    assert "60 images are byte copies of others; copies of a file are on one side" in made.notes[0]
    assert Split.read(tmp_path / "split").notes == made.notes


def test_copies_join_groups(tmp_path):
    """Video i shares a file with video i + 1 of its four; so four videos are on one side."""
    rows_ = [("real", f"video-{i // 3:02}", None) for i in range(120)]
    manifest = write_manifest(tmp_path / "images.parquet", [*rows_, *singles(b=9)])
    contents = list(range(129))
    for video, after in pairwise(range(40)):
        if after % 4:
            contents[9 + 3 * after] = contents[9 + 3 * video + 1]  # the ids of b come first
    with_contents(manifest, contents)
    made = split(manifest, tmp_path / "split")
    tested = {row["group"] for row in made.with_role("test").to_pylist() if row["class"] == "real"}
    assert len(tested) == 8
    assert len({int(name[-2:]) // 4 for name in tested}) == 2


def test_the_same_bytes_under_two_classes_are_refused(tmp_path):
    manifest = write_manifest(tmp_path / "images.parquet", singles(real=9, b=9))
    with_contents(manifest, [*range(17), 0])
    with pytest.raises(UserError, match=r"b/000009.png \(b\) and real/000008.png \(real\): have"):
        split(manifest, tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_an_unlabelled_copy_of_a_labelled_image_goes_with_it(tmp_path):
    manifest = write_manifest(
        tmp_path / "images.parquet",
        [*singles(real=20), *[(None, f"x{i}", None) for i in range(20)]],
    )
    with_contents(manifest, [*range(20), *range(20)])
    made = split(manifest, tmp_path / "split")
    tested = set(made.with_role("test")["sha256"].to_pylist())
    roles = {row["role"] for row in made.table.to_pylist() if row["class"] is None}
    assert roles == {"unlabelled", "unused"}
    assert not tested & set(made.with_role("unlabelled", "labelled")["sha256"].to_pylist())


def test_the_paper_rule_counts_copies_on_both_sides(tmp_path):
    manifest = with_contents(
        write_manifest(tmp_path / "images.parquet", singles(real=40)), [i // 2 for i in range(40)]
    )
    made = split(manifest, tmp_path / "split", options=SplitOptions(rule="paper"))
    trained = set(made.with_role("labelled", "unlabelled")["sha256"].to_pylist())
    num = sum(digest in trained for digest in made.with_role("test")["sha256"].to_pylist())
    assert num > 0
    assert made.notes == (
        "20 images are byte copies of others",
        f"{num} of 8 test images are byte copies of images that are trained on; --rule group keeps "
        "copies on one side",
    )


def test_images_that_look_alike_are_counted(tmp_path):
    manifest = write_manifest(tmp_path / "images.parquet", singles(real=20, b=20))
    assert split(manifest, tmp_path / "before").notes == ()
    hashes = [1000 * 7**i % 2**60 for i in range(40)]
    hashes[0] = hashes[39] ^ 3  # of two classes
    with_column(manifest, "phash", hashes)
    made = split(manifest, tmp_path / "split", options=SplitOptions(seed=4))
    (note,) = [note for note in made.notes if "class" in note]
    assert note.startswith("2 images look like one of another class")
    with_column(manifest, "phash", [5] * 40)
    made = split(manifest, tmp_path / "all", options=SplitOptions(seed=4))
    assert made.notes[1].startswith("8 of 8 test images look like one that is trained on")
    assert "--group-level" in made.notes[1]


def test_a_split_stays_the_same_when_its_images_are_prepared(tmp_path):
    manifest = write_manifest(tmp_path / "images.parquet", singles(real=20))
    before = split(manifest, tmp_path / "split")
    with_column(manifest, "phash", [5] * 20)
    after = split(manifest, tmp_path / "split")
    assert after.digest() == before.digest()
    assert Split.read(tmp_path / "split").notes == after.notes != ()
    assert pc.all(pc.equal(after.table["role"], before.table["role"])).as_py()
