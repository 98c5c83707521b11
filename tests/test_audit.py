"""An audit: what it finds, what it does not, and how it ends."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_line import cli, done, refused
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.split import Split
from owdfa.stages.audit import audit
from owdfa.stages.audit.embedding import Embedding, nearest
from owdfa.stages.audit.images import TEST, TRAINING, read_images
from owdfa.stages.audit.labels import confident, doubtful_labels, out_of_fold
from owdfa.stages.audit.neighbours import neighbours
from owdfa.stages.split import SplitOptions, split
from small_manifest import singles, write_manifest

NAMES = ("real", "swap", "edit")


def videos(num=8, frames=4):
    return [
        (name, f"{name}-{i}", None) for name in NAMES for i in range(num) for _ in range(frames)
    ]


def made(folder, rows=None, **options):
    """A manifest of images that are not there, and its split."""
    path = write_manifest(folder / "images.parquet", rows or videos())
    split(path, folder / "split", options=SplitOptions(known=("real", "swap"), **options))
    return folder / "split"


def change(path, **columns):
    """Give a manifest other columns; each is a function of the number of the row."""
    manifest = Manifest.read(path)
    table = manifest.table
    for name, value in columns.items():
        index, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
        values = [value(i) for i in range(len(table))]
        table = table.set_column(index, field, pa.array(values, field.type))
    Manifest(table, manifest.dataset).write(path)


def kinds(found):
    return [each.kind for each in found.findings]


def test_a_split_by_groups_leaks_nothing(tmp_path):
    found = audit(made(tmp_path))
    assert found.num_leaks == 0
    assert not kinds(found)
    ended = cli("data", "audit", tmp_path / "split")
    assert ended.status == 0
    assert "96 images, 0 leaks, 0 other findings" in ended.stdout


def test_a_split_of_single_images_leaks_its_groups_and_ends_with_1(tmp_path):
    place = made(tmp_path, rule="paper")
    ended = cli("data", "audit", place)
    assert ended.status == 1
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("LEAK: group on both sides: ")
    assert "split by --rule group" in lines[0]
    assert [line for line in lines if line.startswith("LEAK: hidden labels: ")]
    found = audit(place)
    (pairs,) = (each.pairs for each in found.findings if each.kind == "group on both sides")
    for pair in pairs:
        assert found.images.groups[pair.one] == found.images.groups[pair.other]
        assert found.images.sides[[pair.one, pair.other]].tolist() == [TEST, TRAINING]


def test_byte_copies_on_both_sides_are_a_leak(tmp_path):
    write_manifest(tmp_path / "images.parquet", singles(real=20, swap=20, edit=20))
    change(tmp_path / "images.parquet", sha256=lambda i: f"{i // 2:064x}")
    options = SplitOptions(known=("real", "swap"), rule="paper")
    split(tmp_path / "images.parquet", tmp_path / "split", options=options)
    found = audit(tmp_path / "split")
    assert "copies on both sides" in kinds(found)
    (copies,) = (each for each in found.findings if each.kind == "copies")
    assert copies.line == "30 of 60 images are byte copies of others"
    digests = found.images.table["sha256"].to_pylist()
    assert all(digests[pair.one] == digests[pair.other] for pair in copies.pairs)


def test_one_file_under_two_classes_is_found_in_a_manifest(tmp_path):
    path = write_manifest(tmp_path / "images.parquet", singles(real=3, swap=3))
    change(path, sha256=lambda i: f"{i % 3:064x}")
    found = audit(path)
    assert kinds(found) == ["one file, two classes", "copies"]
    assert found.num_leaks == 0


def test_look_alikes_across_roles_are_shown_nearest_hash_and_all(tmp_path):
    path = write_manifest(tmp_path / "images.parquet", singles(real=20, swap=20, edit=20))
    change(
        path,
        phash=lambda i: 0x123456789ABCDEF if i in (3, 30) else (i + 1) * 0x9E3779B97F4A7C1 % 2**63,
    )
    place = tmp_path / "split"
    split(path, place, options=SplitOptions(known=("real", "swap")))
    found = audit(place)
    (alike,) = (each for each in found.findings if each.kind == "look-alikes of two classes")
    assert not alike.is_leak
    ((one, other, note),) = alike.pairs
    assert {one, other} == {3, 30}
    assert note == "0 bits differ"


def test_a_person_on_both_sides_is_a_leak_where_the_manifest_knows_persons(tmp_path):
    place = made(tmp_path)
    path = tmp_path / "images.parquet"
    table = pq.read_table(path)
    persons = pa.array([f"person {i % 5}" for i in range(len(table))])
    pq.write_table(table.append_column("identity", persons), path)
    found = audit(place)
    assert kinds(found)[0] == "identity on both sides"
    assert found.num_leaks == 1
    assert found.findings[0].line.startswith("5 identities in training and in test")


def test_a_source_and_a_format_that_give_the_class_away_are_two_shortcuts(tmp_path):
    rows = [(name, group, f"site-{name}") for name, group, _ in videos()]
    write_manifest(tmp_path / "images.parquet", rows)
    change(tmp_path / "images.parquet", format=lambda i: "PNG" if i < 32 else "JPEG")
    found = audit(tmp_path / "images.parquet")
    first, second = (each.line for each in found.findings if each.kind == "shortcut")
    assert first.startswith("format alone tells 'edit' from the other classes")
    assert second.startswith("source alone tells the classes apart with 100%")
    assert found.notes[-2].startswith("JPEG tables of 64 files were not read")


def test_the_tables_of_jpeg_files_are_read_and_tell_of_their_encoder(tmp_path):
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        flat = {"qtables": [[8] * 64, [8] * 64]} if name == "b" else {"quality": 93}
        for i in range(12):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg", **flat)
    done("data", "scan", f"folder:{tmp_path}", "-o", tmp_path / "images.parquet")
    found = audit(tmp_path / "images.parquet")
    (tables,) = (each for each in found.ratings if each.properties == ("JPEG tables",))
    assert (tables.accuracy, tables.chance) == (1, 0.5)
    assert "JPEG tables" in found.findings[0].line


def test_a_manifest_that_moved_or_is_another_is_refused_in_one_line(tmp_path):
    place = made(tmp_path)
    (tmp_path / "images.parquet").rename(tmp_path / "moved.parquet")
    assert "--manifest" in refused("data", "audit", place)
    assert cli("data", "audit", place, "--manifest", tmp_path / "moved.parquet").status == 0
    change(tmp_path / "moved.parquet", sha256=lambda i: f"{i + 1:064x}")
    line = refused("data", "audit", place, "--manifest", tmp_path / "moved.parquet")
    assert "has other files" in line
    other = write_manifest(tmp_path / "other.parquet", singles(real=3))
    assert "does not list" in refused("data", "audit", place, "--manifest", other)
    assert "no such file" in refused("data", "audit", tmp_path / "nothing")


def test_the_page_shows_pairs_and_names_are_text(tmp_path):
    rows = [(f"<b>{name}</b>", group, None) for name, group, _ in videos()]
    write_manifest(tmp_path / "images.parquet", rows)
    options = SplitOptions(known=("<b>real</b>", "<b>swap</b>"), rule="paper")
    split(tmp_path / "images.parquet", tmp_path / "split", options=options)
    page = tmp_path / "page.html"
    assert cli("data", "audit", tmp_path / "split", "-o", page).status == 1
    text = page.read_text()
    assert "scores on this split cannot be trusted" in text
    assert "not at hand" in text  # the images are not there
    assert "<b>real</b>" not in text
    page.write_text("mine")
    assert "is not what this command writes" in refused(
        "data", "audit", tmp_path / "split", "-o", page
    )


def test_a_run_gives_an_embedding_to_look_in(whole_run, tmp_path):
    page = tmp_path / "page.html"
    ended = cli("data", "audit", whole_run / "split", "--run", whole_run, "-o", page)
    assert ended.status == 0, ended.stderr
    assert "name a run" not in ended.stdout
    assert "data:image/jpeg" in page.read_text() or "0 other findings" in ended.stdout


def images_of(folder, num_test):
    """Images of one class; the first ones are tested on."""
    path = write_manifest(folder / "images.parquet", singles(real=400, edit=400))
    place = folder / "split"
    split(path, place, options=SplitOptions(known=("real",), test=num_test))
    return read_images(place, None, None)


@pytest.mark.parametrize("num_copied", [0, 20])
def test_test_images_that_lie_on_training_images_are_found_and_others_not(tmp_path, num_copied):
    images = images_of(tmp_path, 0.25)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(len(images), 16)).astype(np.float32)
    tested = np.flatnonzero(images.sides == TEST)[:num_copied]
    trained = np.flatnonzero(images.sides == TRAINING)[:num_copied]
    vectors[tested] = vectors[trained] + 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = list(neighbours(images, Embedding(np.arange(len(images)), vectors, "vectors")))
    assert len(found) == bool(num_copied)
    for finding in found:
        shown = {(pair.one, pair.other) for pair in finding.pairs}
        assert shown <= set(zip(tested.tolist(), trained.tolist(), strict=True))
        assert not finding.is_leak


def test_the_nearest_is_that_of_another_label_where_equal_ones_are_barred():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    places, cosines = nearest(vectors, vectors)
    assert places.tolist() == [0, 1, 2]
    labels = np.array([0, 0, 1])
    places, cosines = nearest(vectors, vectors, (labels, labels))
    assert places.tolist() == [2, 2, 1]
    assert cosines == pytest.approx([0, 0.6, 0.6])


def test_confident_learning_by_hand():
    """Thresholds are 0.7 and 0.6: the third image is not confident of class 1, the last of 0 is."""
    probabilities = np.array(
        [[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]
    )
    labels = np.array([0, 0, 0, 0, 1, 1])
    own = [(0.9 + 0.8 + 0.5 + 0.6) / 4, (0.9 + 0.2) / 2]
    assert own == pytest.approx([0.7, 0.55])
    assert confident(probabilities, labels).tolist() == [0, 0, 0, 0, 1, 0]


def test_a_wrong_label_is_found_and_shown_beside_an_image_of_the_class_it_looks_like(tmp_path):
    images = images_of(tmp_path, 0.25)
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(2, 8)) * 3
    classes = images.classes.copy()
    wrong = 17
    classes[wrong] = 1 - classes[wrong]  # where it lies; its label stays
    vectors = (centres[classes] + draw.normal(size=(len(images), 8)) * 0.3).astype(np.float32)
    (found,) = doubtful_labels(images, Embedding(np.arange(len(images)), vectors, "vectors"))
    (pair,) = found.pairs
    assert pair.one == wrong
    assert images.classes[pair.other] == classes[wrong]


def test_probabilities_are_out_of_fold():
    labels, folds = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1])
    vectors = np.array([[0], [0.1], [1], [1.1], [1.05], [0.05]], np.float32)
    found = out_of_fold(vectors, labels, folds)
    assert found[4:].argmax(axis=1).tolist() == [1, 0]  # labelled the other way round
    assert (found[:4] == 0.5).all()  # two images are too few to learn two classes from
    assert found.sum(axis=1) == pytest.approx(1)


def test_what_files_give_away_stands_in_the_split_and_survives_it(tmp_path):
    write_manifest(tmp_path / "images.parquet", videos())
    change(tmp_path / "images.parquet", format=lambda i: "PNG" if i < 32 else "JPEG")
    options = SplitOptions(known=("real", "swap"))
    first = split(tmp_path / "images.parquet", tmp_path / "split", options=options)
    files = Split.read(tmp_path / "split").file_properties
    assert files == first.file_properties
    assert files.properties == ("format",)
    assert files.accuracy["novel"] == 1  # "edit" is PNG, and all labels are told
    assert files.accuracy["all"] == pytest.approx(2 / 3, abs=0.2)
    assert set(files.chance) == {"all", "known", "novel"}
    note = tmp_path / "split/split.json"
    text = note.read_text()
    start = text.index(',\n "file_properties"')
    note.write_text(text[:start] + "\n}\n")  # as an earlier version wrote it
    assert Split.read(tmp_path / "split").file_properties is None
    split(tmp_path / "images.parquet", tmp_path / "split", options=options)
    assert Split.read(tmp_path / "split").file_properties == files
