"""A stress test: corruptions of test images, predicted again, judged, and resumed."""

import csv
import shutil
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from command_line import done, refused
from owdfa.images.store import Crops
from owdfa.metrics.intervals import bootstrap_means
from owdfa.records.manifest import Manifest
from owdfa.records.predictions import Predictions
from owdfa.records.scores import Scores
from owdfa.records.stress import FILE, Stress
from owdfa.stages.stress.grid import NONE, Level, grid
from owdfa.stages.stress.images import Corrupted, Originals, StoredCrops
from owdfa.stages.stress.summary import Truth, right_indices, summarise


@pytest.fixture(scope="module")
def stressed(whole_run, tmp_path_factory):
    """The quick grid on the files."""
    folder = tmp_path_factory.mktemp("stress") / "out"
    return folder, done("stress", whole_run, "--quick", "-o", folder)


def test_every_level_has_a_name_of_its_own_and_the_quick_grid_is_part_of_it():
    names = [level.name for level in grid()]
    assert len(set(names)) == len(names)
    assert names[0] == NONE
    assert {level.name for level in grid(quick=True)} < set(names)
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in names)


@pytest.mark.parametrize("level", grid(), ids=lambda level: level.name)
def test_every_level_is_a_function_of_pixels_that_gives_pixels(level):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    made = level.apply(image, seed=7)
    assert made.dtype == np.uint8
    assert made.ndim == 3
    assert_array_equal(made, level.apply(image, seed=7))
    assert (made.shape == image.shape and (made == image).all()) == (level.name == NONE)


def test_unchanged_files_are_predicted_as_predict_does(whole_run, stressed, tmp_path):
    done("predict", whole_run, "split:test", "-o", tmp_path / "test.parquet")
    wanted = Predictions.read(tmp_path / "test.parquet", ["id", "index"]).table
    found = pq.read_table(stressed[0] / "levels/none.parquet").select(["id", "index"])
    assert found.to_pylist() == wanted.to_pylist()


def test_the_record_says_what_became_of_each_level(stressed):
    folder, out = stressed
    record = Stress.read(folder / FILE)
    assert [level.name for level in record.levels] == [level.name for level in grid(quick=True)]
    assert record.applied_to == "originals"
    assert record.levels[0].same.value == 1
    for level in record.levels:
        assert level.all.low <= level.all.value <= level.all.high
        assert set(level.per_class) == {"a", "b", "c"}
        num = sum(share.num_images for share in level.per_class.values())
        assert num == level.all.num_images == record.num_images
    families = record.families()
    assert [level.label for level in families["jpeg"]] == ["", "95", "85", "75", "45"]
    rows = list(csv.DictReader((folder / "stress.csv").read_text().splitlines()))
    shown = {(row["corruption"], row["level"], row["of"]): float(row["share"]) for row in rows}
    assert shown["jpeg", "75", "all"] == families["jpeg"][3].all.value
    assert "screenshot" in out
    page = (folder / "index.html").read_text()
    assert "as files, before a face was sought" in page
    assert "JPEG, quality" in page


def test_a_stopped_test_goes_on_where_it_was(whole_run, stressed, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(stressed[0], folder)
    lost = folder / "levels/blur-2.parquet"
    lost.unlink()
    (folder / FILE).unlink()
    before = {each: each.stat().st_mtime_ns for each in (folder / "levels").iterdir()}
    done("stress", whole_run, "--quick", "-o", folder)
    assert lost.exists()
    assert {each: each.stat().st_mtime_ns for each in before} == before
    assert Stress.read(folder / FILE) == Stress.read(stressed[0] / FILE)


def test_a_damaged_level_is_made_again(whole_run, stressed, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(stressed[0], folder)
    damaged = folder / "levels/noise-2.parquet"
    damaged.write_bytes(b"")  # nobody's loss
    done("stress", whole_run, "--quick", "-o", folder)
    assert pq.read_table(damaged).num_rows
    assert Stress.read(folder / FILE) == Stress.read(stressed[0] / FILE)


def test_a_folder_of_another_test_is_refused_and_kept(whole_run, stressed):
    before = (stressed[0] / FILE).read_bytes()
    for other in (("--quick", "--classes", "a"), ("--quick", "--crops")):
        assert "holds a stress test of" in refused("stress", whole_run, *other, "-o", stressed[0])
    assert (stressed[0] / FILE).read_bytes() == before


def test_a_folder_of_something_else_is_refused_and_kept(whole_run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    line = refused("stress", whole_run, "--quick", "-o", tmp_path)
    assert "holds files and is no stress test" in line
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_class_that_is_not_there_is_refused_with_the_nearest(whole_run, tmp_path):
    line = refused("stress", whole_run, "--classes", "aa", "-o", tmp_path / "out")
    assert "no class 'aa'" in line
    assert not (tmp_path / "out").exists()


def test_without_the_files_the_crops_are_corrupted_and_it_is_said(whole_run, tmp_path):
    moved = shutil.copytree(whole_run, tmp_path / "run")
    manifest = Manifest.read(moved / "images.parquet")
    paths = [f"{path}.gone" for path in manifest.table["path"].to_pylist()]
    index = manifest.table.schema.get_field_index("path")
    table = manifest.table.set_column(index, "path", [paths])
    Manifest(table, manifest.dataset, moved / "store").write(moved / "images.parquet")
    note = moved / "split/split.json"
    note.write_text(note.read_text().replace(str(whole_run), str(moved)))
    out = done("stress", moved, "--quick", "--classes", "a,c", "-o", tmp_path / "out")
    assert ".gone: is not there; the stored crops are corrupted instead" in out
    record = Stress.read(tmp_path / "out" / FILE)
    assert (record.applied_to, record.known, record.novel) == ("crops", ("a",), ("c",))
    scored = {each["class"]: each for each in Scores.read(moved / "scores.json").per_class}
    unchanged = record.levels[0].per_class["c"]  # its match is that of all test images
    assert unchanged.value == scored["c"]["acc_gcd_v2"]


def test_a_file_that_was_changed_is_left_out(whole_run):
    photo = sorted((whole_run.parent / "photos/a").iterdir())[0]
    source = Originals([str(photo), str(photo)], ["0" * 64, sha256(photo.read_bytes()).hexdigest()])
    images = Corrupted("split:test", ["one", "two"], np.arange(2), "", source, "none", 20, "resize")
    found = images.read(range(2))
    assert found.errors == {0: "has changed since it was scanned"}
    assert found.positions.tolist() == [1]
    assert found.pixels.shape == (1, 20, 20, 3)


def test_a_crop_that_shrinks_gets_its_size_back_and_noise_is_the_images_own():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    source = StoredCrops(Crops(pixels, np.arange(3)))
    images = Corrupted(
        "split:test", ["a", "b", "c"], np.arange(3), "", source, "none", 24, "resize"
    )
    assert_array_equal(images.read(range(3)).pixels, pixels)
    levels = {level.name: level for level in grid()}
    assert images.at(levels["crop-0.5"]).read(range(3)).pixels.shape == (3, 24, 24, 3)
    noisy = images.at(levels["noise-5"])
    alone = noisy.only(np.array([1])).read(range(1))
    assert_array_equal(alone.pixels[0], noisy.read(range(3)).pixels[1])


def test_what_is_right_is_settled_by_the_unchanged_images():
    """Novel class 1 is index 2 there; that it all becomes index 1 under a corruption is wrong."""
    truth = Truth(np.array([0, 0, 1, 1]), np.arange(4), ("real", "swap"), 1)
    unchanged, corrupted = np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])
    right = right_indices(truth, unchanged, 3)
    assert right.tolist() == [0, 2]
    none, other = summarise(
        [grid()[0], Level("x", "X", "1", np.copy, {})],
        [unchanged, corrupted],
        truth,
        right[truth.classes],
    )
    assert (none.all.value, none.known.value, none.novel.value, none.same.value) == (
        0.75,
        0.5,
        1,
        1,
    )
    assert (other.all.value, other.known.value, other.novel.value) == (0.5, 1, 0)
    assert other.same.value == 0.25
    assert other.per_class["swap"].num_images == 2


def test_means_of_drawn_groups_are_those_of_their_images():
    rng = np.random.default_rng(0)
    values, groups = rng.random((30, 2)), rng.integers(6, size=30)
    values[rng.random(values.shape) < 0.3] = np.nan
    stream = np.random.default_rng(4)
    for row in bootstrap_means(values, groups, 20, seed=4):
        drawn = stream.integers(6, size=6)
        images = np.concatenate([values[groups == group] for group in drawn])
        assert row == pytest.approx(np.nanmean(images, axis=0))
    assert np.isnan(bootstrap_means(np.full((3, 1), np.nan), np.arange(3), 2)).all()


def test_a_run_that_is_not_there_is_one_line(tmp_path):
    assert "nowhere" in refused("stress", tmp_path / "nowhere", "-o", tmp_path / "out")
