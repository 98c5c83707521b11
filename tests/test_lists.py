"""Lists of images in Parquet, and the folder of a prediction on a cluster."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from command_line import done, make_noise, refused
from owdfa.errors import UserError
from owdfa.images.bad import listing_of, write_bad
from owdfa.inference import lists
from owdfa.inference.lists import name_files
from owdfa.records.predictions import PredictionMetadata, Predictions
from owdfa.records.provenance import Provenance
from owdfa.stages.predict.job import JobFolder
from owdfa.stages.predict.shards import _write_part
from owdfa.stages.predict.workers import ROWS

METADATA = PredictionMetadata(
    run="run", images="photos", images_digest=None, classes=("a", "b"), num_known=1, engine="e 1",
    provenance=Provenance(
        method="cal", backbone="tiny/trace8w16", seed=0, selection="last", split_digest=None,
        weights_digest="w", precision="32-true", commit="c", environment={},
    ),
)  # fmt: skip


def write_list(place, /, **columns):
    pq.write_table(pa.table(columns), place)
    return place


def test_a_list_names_its_images_or_their_paths_do(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_ROWS", 2)
    place = write_list(tmp_path / "list", path=["b", "a", "b", "c", "b"], other=[1, 2, 3, 4, 5])
    found = list(name_files(place).files)
    assert [file.id for file in found] == ["b", "a", "b#2", "c", "b#3"]
    assert [file.path for file in found] == ["b", "a", "b", "c", "b"]
    place = write_list(tmp_path / "named", id=["1", "2", "3"], path=["b", "b", "c"])
    assert list(name_files(place).files) == [("1", "b"), ("2", "b"), ("3", "c")]


def test_a_list_that_cannot_be_used_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_ROWS", 2)
    for columns, reason in (
        ({"file": ["a"]}, "lacks a column 'path'"),
        ({"path": ["a", "b", None]}, "row 2 has no text in the column 'path'"),
        ({"path": [1.0]}, "row 0 has no text in the column 'path'"),
        ({"path": ["a", "b", "c"], "id": ["x", "y", "x"]}, "several rows have the id 'x'"),
    ):
        place = write_list(tmp_path / "list", **columns)
        with pytest.raises(UserError, match=rf"list: .*{reason}"):
            list(name_files(place).files)
    place.write_bytes(place.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read as a list of images"):
        list(name_files(place).files)


def test_one_machine_predicts_a_list_as_the_files_in_it(whole_run, tmp_path):
    photos = make_noise(tmp_path / "photos", count=2)
    files = sorted(photos.rglob("*.png"))
    place = write_list(tmp_path / "list", path=[str(path) for path in files[::-1]])
    done("predict", whole_run, *files, "-o", tmp_path / "files.parquet")
    done("predict", whole_run, place, "-o", tmp_path / "list.parquet")
    tables = [Predictions.read(tmp_path / f"{name}.parquet").table for name in ("files", "list")]
    assert tables[0] == tables[1]
    empty = write_list(tmp_path / "empty", path=pa.array([], pa.string()))
    line = refused("predict", whole_run, empty, "-o", tmp_path / "p.parquet")
    assert "empty: no images there" in line


@pytest.fixture
def folder(tmp_path):
    """Five images in shards of two; the second of the list is not there."""
    for name in "abde":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "edcba"]
    (tmp_path / "out").mkdir()
    folder = JobFolder(tmp_path / "out")
    listed = folder.write_list(name_files(paths), 2)
    return folder, paths, listed


def test_shards_hold_each_image_once_in_order_of_id(folder):
    folder, paths, listed = folder
    shards = [folder.read_shard(i) for i in range(3)]
    assert [len(shard.ids) for shard in shards] == [2, 2, 1]
    assert sorted(path for shard in shards for path in shard.paths) == sorted(map(str, paths))
    assert all(shard.ids == sorted(shard.ids) for shard in shards)
    job = folder.open(listed, 2, METADATA)
    assert (job.num_images, job.num_shards, [job.size(i) for i in range(3)]) == (5, 3, [2, 2, 1])


def test_a_folder_goes_on_with_the_same_job_alone(folder, tmp_path):
    folder, paths, listed = folder
    folder.check()  # killed before it had a job
    job = folder.open(listed, 2, METADATA)
    moved = METADATA.model_copy(update={"run": "elsewhere"})
    assert folder.open(folder.write_list(name_files(paths), 2), 2, moved) == job
    for images, shard in ((paths[1:], 2), (paths, 3)):
        with pytest.raises(UserError, match="out: holds predictions of 5 images of photos"):
            folder.write_list(name_files(images), shard)
    assert folder.read_shard(2).ids == [str(paths[-1])]
    other = METADATA.model_copy(update={"engine": "e 2"})
    with pytest.raises(UserError, match="the weights, the engine or the precision are others now"):
        folder.open(listed, 2, other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"mine: holds thesis\.txt and no predictions"):
        JobFolder(tmp_path / "mine").check()
    (folder.path / ".part-00000.parquet.1234.part").write_text("half")
    folder.check()
    assert not list(folder.path.glob(".*"))


def rows(shard, ids, bad=()):
    """What workers say of images."""
    table = [
        {"shard": shard, "row": i, "id": id_, "error": "is broken" if i in bad else None}
        for i, id_ in enumerate(ids)
    ]
    return pa.Table.from_pylist(table, schema=ROWS)


def test_a_part_is_whole_when_no_image_of_its_shard_is_missing(folder):
    folder, _, listed = folder
    job = folder.open(listed, 2, METADATA)
    assert not folder.is_whole(job, 0)
    both = rows(0, "ab", bad=[1])
    assert _write_part(folder, job, 0, [both.slice(1), both.slice(0, 1)]) == 1
    assert folder.is_whole(job, 0)
    assert folder.bad(0) == ["b: is broken"]
    assert Predictions.read(folder.part(0)).table["id"].to_pylist() == ["a"]
    write_bad(listing_of(folder.part(0)), folder.part(0), [])
    assert not folder.is_whole(job, 0)
    for came in (both.slice(1), pa.concat_tables([both, both.slice(1)])):
        with pytest.raises(RuntimeError, match="shard 1: some of its images"):
            _write_part(folder, job, 1, [came])
    assert not folder.part(1).exists()


def test_parts_are_written_in_the_order_of_the_list(folder):
    folder, _, listed = folder
    job = folder.open(listed, 2, METADATA)
    whole = rows(1, "cd")
    _write_part(folder, job, 1, [whole.take(np.array([1, 0]))])
    assert Predictions.read(folder.part(1)).table["id"].to_pylist() == ["c", "d"]
