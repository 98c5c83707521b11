import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest

from owdfa.errors import UserError
from owdfa.images.store import ABSENT, CHANGED, Store, check_basis
from tiny_store import BASIS, make_store


def test_what_is_written_is_read(tmp_path):
    pixels = make_store(tmp_path / "s", failures={"x": "is empty"})
    store = Store.open(tmp_path / "s")
    assert np.array_equal(store.pixels, pixels)
    assert store.ids == ["a", "b", "c"]
    assert (store.size, store.basis) == (8, BASIS)
    assert store.failures == {"x": "is empty"}


def test_pixels_cannot_be_written(tmp_path):
    make_store(tmp_path / "s")
    with pytest.raises(ValueError, match="read-only"):
        Store.open(tmp_path / "s").pixels[0] = 0


def test_rows_are_found_in_the_order_asked(tmp_path):
    make_store(tmp_path / "s")
    rows = Store.open(tmp_path / "s").rows(["c", "a", "c"])
    assert rows.dtype == np.int64
    assert rows.tolist() == [2, 0, 2]
    assert Store.open(tmp_path / "s").rows([]).tolist() == []


def test_the_first_missing_image_is_named_with_its_reason(tmp_path):
    make_store(tmp_path / "s", failures={"bad": "is truncated"})
    store = Store.open(tmp_path / "s")
    with pytest.raises(UserError, match=r"no image 'nobody' \(prepare the manifest"):
        store.rows(["a", "nobody", "bad"])
    with pytest.raises(UserError, match=r"no image 'bad' \(is truncated\)"):
        store.rows(["bad"])


def test_pixels_do_not_travel_to_another_process(tmp_path):
    pixels = make_store(tmp_path / "s", ids=[f"{i:03}" for i in range(200)])
    packed = pickle.dumps(Store.open(tmp_path / "s"))
    assert len(packed) < 1000 < pixels.nbytes
    assert np.array_equal(pickle.loads(packed).pixels, pixels)


def test_a_folder_that_is_no_store(tmp_path):
    with pytest.raises(UserError, match=r"store\.json: no such file; a store"):
        Store.open(tmp_path)
    make_store(tmp_path / "s")
    (tmp_path / "s" / "store.json").write_text('{"basis": {"size": 8}}')
    with pytest.raises(UserError, match=r"store\.json: is not a store"):
        Store.open(tmp_path / "s")


@pytest.mark.parametrize("damage", ["cut", "missing", "other ids"])
def test_files_that_do_not_belong_together(tmp_path, damage):
    folder = tmp_path / "s"
    make_store(folder)
    pixels = folder / "pixels.bin"
    if damage == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "missing":
        pixels.unlink()
    else:
        make_store(tmp_path / "t", ids=("a", "b", "d"))
        shutil.copy(tmp_path / "t" / "ids.parquet", folder)
    with pytest.raises(UserError, match="not of one store"):
        Store.open(folder)


def test_every_difference_is_named(tmp_path):
    check_basis(tmp_path, BASIS, BASIS)
    other = BASIS._replace(size=9)
    with pytest.raises(UserError) as caught:
        check_basis(tmp_path, BASIS, other)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "(size 8 there, 9 here)" in str(caught.value)


def images(**digests):
    return pa.table({"id": list(digests), "sha256": list(digests.values())})


def test_an_image_is_known_by_id_and_content(tmp_path):
    make_store(tmp_path / "s", failures={"bad": "is truncated"})
    store = Store.open(tmp_path / "s")
    assert store.lacks(images(c="sha of c", a="sha of a")) is None
    assert store.find(images(c="sha of c", b="sha of a", d="x")).tolist() == [2, CHANGED, ABSENT]
    assert store.lacks(images(a="sha of a", b="sha of a")) == "'b' has another SHA-256 there"
    assert store.lacks(images(d="x")) == "'d' is not there: it was not prepared"
    assert store.lacks(images(bad="x")) == "'bad' is not there: is truncated"


def test_what_was_appended_and_not_counted_is_not_read(tmp_path):
    pixels = make_store(tmp_path / "s")
    note = (tmp_path / "s" / "store.json").read_bytes()
    make_store(tmp_path / "s", ids=("a", "b", "c", "d"))
    (tmp_path / "s" / "store.json").write_bytes(note)
    store = Store.open(tmp_path / "s")
    assert store.ids == ["a", "b", "c"]
    assert np.array_equal(store.pixels, pixels)
