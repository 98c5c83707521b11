import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from owdfa.errors import UserError
from owdfa.images import cropping, faces
from owdfa.images.bad import read_bad
from owdfa.images.boxes import Box
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.prepare import prepare
from twenty_pictures import COUNT, contents, make_manifest, spoil


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path)


def test_every_file_is_read_once(manifest, tmp_path, monkeypatch):
    read, seen = cropping.read, []
    monkeypatch.setattr(cropping, "read", lambda path: seen.append(path.name) or read(path))
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert seen == [f"{i:02}.png" for i in range(COUNT)]


def test_a_worker_imports_no_more_than_it_needs():
    program = (
        "import sys, owdfa.images.cropping\n"
        "print(*[name for name in ('pyarrow', 'torch', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b""


def test_crops_follow_the_ids(manifest, tmp_path):
    seen = []
    store = prepare(
        manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: seen.append(at)
    )
    assert store.ids == [f"{i:02}.png" for i in range(COUNT)]
    for i in (0, 9, 19):
        image = Image.open(tmp_path / f"{i:02}.png").resize((9, 9), Image.Resampling.BILINEAR)
        assert np.array_equal(store.pixels[i], np.asarray(image))
    assert seen == [(8, COUNT), (16, COUNT), (COUNT, COUNT)]
    assert sorted(contents(store.folder)) == ["ids.parquet", "pixels.bin", "store.json"]
    assert not (tmp_path / ".s.part").exists()


def test_the_manifest_is_filled_and_keeps_its_digest(manifest, tmp_path, monkeypatch):
    before = Manifest.read(manifest)

    class Finder:
        def detect(self, rgb):
            return [Box(2, 3, 8, 9, 0.5)]

    monkeypatch.setitem(faces._DETECTORS, "finder", Finder)
    store = prepare(manifest, tmp_path / "s", faces="finder", size=9, jobs=1)
    after = Manifest.read(manifest)
    assert after.digest() == before.digest()
    assert after.store == tmp_path / "s"
    kept = [name for name in SCHEMA.names if name not in ("phash", "face")]
    assert after.table.select(kept) == before.table.select(kept)
    rows = {row["id"]: row for row in after.table.to_pylist()}
    assert rows["99.png"]["phash"] is rows["99.png"]["face"] is None
    box = {"left": 2, "top": 3, "right": 8, "bottom": 9, "score": 0.5}
    assert rows["07.png"]["face"] == box
    hashes = dict(zip(store.ids, store.table["phash"].to_pylist(), strict=True))
    assert {name: rows[name]["phash"] for name in hashes} == hashes
    assert len(set(hashes.values())) > COUNT // 2


def test_a_second_run_only_fills_the_manifest(manifest, tmp_path):
    fresh = manifest.read_bytes()
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    filled = Manifest.read(manifest)
    stamp = (tmp_path / "s" / "pixels.bin").stat().st_mtime_ns
    for before in (fresh, manifest.read_bytes()):
        manifest.write_bytes(before)
        prepare(
            manifest, tmp_path / "s", size=9, jobs=1, on_progress=lambda *at: pytest.fail("work")
        )
        assert Manifest.read(manifest) == filled
    assert (tmp_path / "s" / "pixels.bin").stat().st_mtime_ns == stamp


def test_bad_images_are_listed_and_left_out(manifest, tmp_path):
    spoil(manifest, "05.png")
    (tmp_path / "10.png").unlink()
    before = Manifest.read(manifest)
    store = prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=2)
    names = [f"{i:02}.png" for i in range(COUNT) if i not in (5, 10)]
    assert store.ids == names
    image = Image.open(tmp_path / "19.png").resize((9, 9), Image.Resampling.BILINEAR)
    assert np.array_equal(store.pixels[17], np.asarray(image))
    assert store.failures["05.png"] == "has changed since it was scanned"
    assert "cannot be read" in store.failures["10.png"]
    after = Manifest.read(manifest)
    assert after.usable().table["id"].to_pylist() == names[::-1]
    errors = dict(zip(after.table["id"].to_pylist(), after.table["error"].to_pylist(), strict=True))
    assert errors["99.png"] == "was bad already"
    listed = read_bad(tmp_path / "s")
    assert listed[0] == f"{tmp_path / '05.png'}: has changed since it was scanned"
    assert len(listed) == 2
    # Both manifests, as scanned and as filled, belong to the store.
    made = contents(tmp_path / "s")
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    before.write(manifest)
    prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=2)
    assert contents(tmp_path / "s") == made
    assert Manifest.read(manifest) == after


def test_too_many_bad_images_are_refused_and_can_be_mended(manifest, tmp_path):
    whole = contents(prepare(manifest, tmp_path / "whole", size=9, jobs=1).folder)
    sound = (tmp_path / "05.png").read_bytes()
    spoil(manifest, "05.png")
    with pytest.raises(UserError, match=r"1 of 20 images cannot be used.*05\.png: has changed"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)  # a hundredth of 20 is none
    assert not (tmp_path / "s").exists()
    assert (tmp_path / "s.bad.txt").exists()
    (tmp_path / "05.png").write_bytes(sound)
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert contents(tmp_path / "s") == whole
    assert not (tmp_path / "s.bad.txt").exists()


def test_all_images_bad_is_an_error_whatever_is_tolerated(manifest, tmp_path):
    for i in range(COUNT):
        spoil(manifest, f"{i:02}.png")
    with pytest.raises(UserError, match="none of the 20 images can be used"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1000)


def test_a_store_made_otherwise_is_refused(manifest, tmp_path):
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    with pytest.raises(UserError, match="size 9 there, 10 here"):
        prepare(manifest, tmp_path / "s", size=10, jobs=1)
    with pytest.raises(UserError, match="faces none there, dlib here"):
        prepare(manifest, tmp_path / "s", faces="dlib", size=9, jobs=1)


def relabelled(manifest, **labels):
    """Set class and group of every image of a manifest."""
    table = Manifest.read(manifest).table
    for name, label in labels.items():
        column = pa.repeat(label, table.num_rows)
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
    Manifest(table, "folder:test").write(manifest)


def no_work(*_):
    pytest.fail("an image was cropped again")


def test_naming_a_class_keeps_all_crops(manifest, tmp_path):
    before = contents(prepare(manifest, tmp_path / "s", size=9, jobs=1).folder)
    labels = {"class": "named later", "group": "g"}
    relabelled(manifest, **labels)
    prepare(manifest, tmp_path / "s", size=9, jobs=1, on_progress=no_work)
    assert contents(tmp_path / "s") == before
    filled = Manifest.read(manifest)
    assert filled.store == tmp_path / "s"
    assert filled.usable().table["phash"].null_count == 0
    assert filled.usable().table["class"].unique().to_pylist() == ["named later"]


def take(manifest, names):
    """Write a manifest of some of the images beside it."""
    table = Manifest.read(manifest).table
    chosen = table.filter(pc.is_in(table["id"], pa.array(names)))
    path = manifest.with_name(f"{len(names)}-{names[0]}.parquet")
    Manifest(chosen, "folder:test").write(path)
    return path


ALL = [f"{i:02}.png" for i in range(COUNT)]


def crop_of(store, name):
    return store.pixels[store.rows([name])[0]]


def test_a_store_serves_a_manifest_of_fewer_images(manifest, tmp_path):
    before = contents(prepare(manifest, tmp_path / "s", size=9, jobs=1).folder)
    prepare(take(manifest, ALL[3:7]), tmp_path / "s", size=9, jobs=1, on_progress=no_work)
    assert contents(tmp_path / "s") == before


def test_a_store_grows_by_the_images_that_it_lacks(manifest, tmp_path, monkeypatch):
    whole = prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    opened = prepare(take(manifest, ALL[5:]), tmp_path / "s", size=9, jobs=1)
    read, seen = cropping.read, []
    monkeypatch.setattr(cropping, "read", lambda path: seen.append(path.name) or read(path))
    grown = prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert seen == ALL[:5]
    assert grown.ids == ALL[5:] + ALL[:5]
    assert all(np.array_equal(crop_of(grown, name), crop_of(whole, name)) for name in ALL)
    assert sorted(contents(tmp_path / "s")) == ["ids.parquet", "pixels.bin", "store.json"]
    assert not (tmp_path / ".s.part").exists()
    assert np.array_equal(opened.pixels, grown.pixels[:15])  # who had it open still reads it
    hashes = Manifest.read(manifest).usable().table.sort_by("id")["phash"]
    assert hashes == whole.table["phash"]


def test_an_image_with_another_content_does_not_replace_its_crop(manifest, tmp_path):
    prepare(manifest, tmp_path / "s", size=9, jobs=1)
    table = Manifest.read(manifest).table
    other = pc.if_else(pc.equal(table["id"], "03.png"), "f" * 64, table["sha256"])
    field = SCHEMA.get_field_index("sha256")
    Manifest(table.set_column(field, SCHEMA.field(field), other), "folder:test").write(manifest)
    with pytest.raises(UserError, match=r"holds image '03\.png' as it was before its file changed"):
        prepare(manifest, tmp_path / "s", size=9, jobs=1)


def test_a_bad_image_that_was_mended_joins_the_store(manifest, tmp_path):
    scanned = manifest.read_bytes()
    whole = prepare(manifest, tmp_path / "whole", size=9, jobs=1)
    sound = (tmp_path / "05.png").read_bytes()
    spoil(manifest, "05.png")
    manifest.write_bytes(scanned)
    assert "05.png" in prepare(manifest, tmp_path / "s", size=9, jobs=1, max_bad=1).failures
    (tmp_path / "05.png").write_bytes(sound)
    manifest.write_bytes(scanned)
    store = prepare(manifest, tmp_path / "s", size=9, jobs=1)
    assert store.failures == {}
    assert np.array_equal(crop_of(store, "05.png"), crop_of(whole, "05.png"))
    assert not (tmp_path / "s.bad.txt").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_store_is_not_replaced(manifest, tmp_path, kind):
    place = tmp_path / "s"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.tex").write_text("years of work")
    else:
        place.write_text("years of work")
    with pytest.raises(UserError, match="exists but is not a crop store"):
        prepare(manifest, place, size=9, jobs=1)


def test_an_empty_folder_may_become_the_store(manifest, tmp_path):
    (tmp_path / "s").mkdir()
    assert prepare(manifest, tmp_path / "s", size=9, jobs=1).size == 9


def test_settings_that_do_not_fit(manifest, tmp_path):
    with pytest.raises(UserError, match="did you mean 'dlib'"):
        prepare(manifest, tmp_path / "s", faces="dlibb")
    with pytest.raises(UserError, match="size 4"):
        prepare(manifest, tmp_path / "s", size=4)
    with pytest.raises(UserError, match="no such file; a manifest"):
        prepare(tmp_path / "no.parquet", tmp_path / "s")


def test_a_manifest_without_usable_images(manifest, tmp_path):
    empty = Manifest(Manifest.read(manifest).table.slice(0, 1), "folder:test")
    empty.write(manifest)
    with pytest.raises(UserError, match="no usable image"):
        prepare(manifest, tmp_path / "s")
