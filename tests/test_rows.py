import hashlib
import struct
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owdfa.records import rows
from owdfa.records.manifest import FACE

CELLS = st.lists(st.none() | st.text(alphabet="a\0b/é", max_size=3), max_size=8)


def column(cells, cuts=()):
    """A column of strings in chunks that end at ``cuts``."""
    bounds = [0, *sorted(min(cut, len(cells)) for cut in cuts), len(cells)]
    parts = [cells[a:b] for a, b in pairwise(bounds)]
    return pa.chunked_array(parts, pa.string())


@pytest.fixture(params=[2, 1 << 16], ids=["small blocks", "large blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(rows, "_BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
def test_rows_are_put_in_order_of_their_id():
    ids = ["b", "é", "a/b", "a-b", "", "z", "a"]
    boxes = [{"left": i, "top": 0, "right": 9, "bottom": 9, "score": 0.5} for i in range(6)]
    columns = {
        "id": column(ids, [2, 2, 5]),
        "class": column([None, "x", "", "y", None, "z", "x"], [1]),
        "face": pa.chunked_array([boxes, [None]], FACE),
        "bytes": pa.chunked_array([[1, 2, None], [4, 5, 6, 7]], pa.int64()),
    }
    table = pa.table(columns)
    found = rows.sorted_by_id(table)
    order = sorted(range(len(ids)), key=lambda i: ids[i].encode())
    assert found.to_pylist() == [table.to_pylist()[i] for i in order]
    assert found.schema == table.schema
    assert rows.sorted_by_id(found) is found


@given(st.lists(st.text(alphabet="abc", max_size=2), max_size=9), st.lists(st.integers(0, 9)))
def test_the_first_of_two_equal_neighbours(ids, cuts):
    ids = sorted(ids)
    expected = next((i for i in range(len(ids) - 1) if ids[i] == ids[i + 1]), -1)
    assert rows.first_duplicate(column(ids, cuts)) == expected


@given(st.lists(st.integers(0, 5), max_size=9))
def test_values_that_occur_more_than_once(values):
    expected = [row for row, value in enumerate(values) if values.count(value) > 1]
    assert rows.duplicated(np.array(values, dtype=np.int64)).tolist() == expected


@given(st.permutations("abcdef"), st.lists(st.integers(0, 6)), st.lists(st.sampled_from("abgh")))
def test_places_are_those_of_a_dictionary(among, cuts, ids):
    among = list(among)
    where = {id_: place for place, id_ in enumerate(among)}
    for asked in (ids, among, among[:-1]):
        expected = [where.get(id_, -1) for id_ in asked]
        assert rows.indices_of(asked, column(among, cuts)).tolist() == expected
        assert rows.indices_of(column(asked, cuts), column(among)).tolist() == expected


@given(CELLS, st.lists(st.integers(0, 8)))
def test_values_are_numbered_in_order_of_appearance(cells, cuts):
    numbers = {}
    expected = [numbers.setdefault(cell, len(numbers)) for cell in cells]
    assert rows.codes(column(cells, cuts)).tolist() == expected


def digest_by_hand(cells, others, block):
    found = hashlib.sha256(repr((("one", "other"), len(cells))).encode())
    for first in range(0, len(cells), block):
        for part in (cells[first : first + block], others[first : first + block]):
            raw = [None if cell is None else cell.encode() for cell in part]
            lengths = [-1 if cell is None else len(cell) for cell in raw]
            found.update(struct.pack(f"<{len(raw)}i", *lengths))
            found.update(b"".join(cell for cell in raw if cell is not None))
    return found.hexdigest()


@pytest.mark.usefixtures("blocks")
def test_digest_is_that_of_its_description():
    cells, others = ["a", None, "", "é\0", "bc"], ["", "a", "b", None, "c"]
    expected = digest_by_hand(cells, others, rows._BLOCK)
    for cuts in ([], [1], [2, 4], [0, 5, 5]):
        table = pa.table({"other": column(others, cuts), "one": column(cells)})
        assert rows.digest_of(table, ("one", "other")) == expected


@given(st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=4))
def test_no_two_tables_have_the_same_digest(tables):
    """Wherever a null stands, and whatever separators cells hold."""
    seen = {}
    for one, other in tables:
        size = min(len(one), len(other))
        content = (tuple(one[:size]), tuple(other[:size]))
        table = pa.table({"one": column(one[:size]), "other": column(other[:size])})
        assert seen.setdefault(rows.digest_of(table, ("one", "other")), content) == content
    near = [["a", None], ["a", ""], ["", "a"], [None, "a"], ["a\0", ""], ["a"], ["", "", "a"]]
    tables = [pa.table({"one": column(cells), "other": column(cells[::-1])}) for cells in near]
    assert len({rows.digest_of(table, ("one", "other")) for table in tables}) == len(near)


def test_joined_cells():
    cells = pa.array(["x", "ab", "", "é"])
    assert rows.joined(cells).to_pybytes() == "xabé".encode()
    assert rows.joined(cells.slice(1), "\0").to_pybytes() == "ab\0\0é".encode()
    assert rows.joined(pa.array([], pa.string())).to_pybytes() == b""


def test_tables_of_no_rows():
    empty = pa.table({"id": pa.chunked_array([], pa.string())})
    assert rows.sorted_by_id(empty) is empty
    assert rows.first_duplicate(empty["id"]) == -1
    assert rows.indices_of([], empty["id"]).tolist() == []
    assert rows.indices_of(["a"], empty["id"]).tolist() == [-1]
    assert rows.codes(empty["id"]).dtype == np.int64
