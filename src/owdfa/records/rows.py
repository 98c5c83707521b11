"""Tables by the million rows: put in order, looked up and digested, without a Python object a row.

Arrow's ``string`` counts bytes in 32 bits: no array holds more than 2 GiB, and ten million long
paths are more. So nothing here joins the chunks of a column of strings; where a whole one is needed
it is a ``large_string``, which counts in 64 bits.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BLOCK = 1 << 16  # rows at once


def sorted_by_id(table: pa.Table) -> pa.Table:
    """The rows in order of ``id``, as bytes in UTF-8; the table itself when they are already."""
    ids = table["id"]
    if len(ids) < 2 or pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py():
        return table
    order = pc.sort_indices(_large(ids))
    columns = [_taken(column, order) for column in table.columns]
    return pa.table(columns, schema=table.schema)


def first_duplicate(ids: pa.ChunkedArray) -> int:
    """The first of sorted ``ids`` that the next one equals, as its row; -1 when all differ."""
    if len(ids) < 2:
        return -1
    return int(pc.index(pc.equal(ids[:-1], ids[1:]), True).as_py())


def duplicated(values: np.ndarray) -> np.ndarray:
    """Rows, in order, whose value another row has too.

    Values are hashes as a rule: whoever asks then looks at what these rows stand for.
    """
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    found = np.zeros(len(values), dtype=bool)
    found[order[same]] = found[order[same + 1]] = True
    return np.flatnonzero(found)


def indices_of(ids: pa.ChunkedArray | Sequence[str], among: pa.ChunkedArray) -> np.ndarray:
    """Where each id stands in ``among``: (len(ids),) int64, -1 for nowhere."""
    if not isinstance(ids, pa.ChunkedArray):
        ids = pa.chunked_array([ids], pa.string())
    if ids.equals(among):  # as a rule: both are in order of id
        return np.arange(len(ids))
    found = pc.index_in(ids.cast(pa.large_string()), _large(among))
    return np.asarray(pc.fill_null(found, -1)).astype(np.int64)


def codes(cells: pa.ChunkedArray) -> np.ndarray:
    """Number the values of a column in order of first appearance: (rows,) int64; null has one."""
    numbered = _large(cells).dictionary_encode(null_encoding="encode")
    return np.asarray(numbered.indices).astype(np.int64)


def digest_of(table: pa.Table, columns: Sequence[str]) -> str:
    """SHA-256 over columns of strings, row by row; null is not the empty string.

    For every 65,536 rows and each column: the lengths of the cells in bytes, -1 for null, as
    little-endian int32, then the cells. So no two tables give the same bytes.
    """
    found = hashlib.sha256(repr((tuple(columns), len(table))).encode())
    for first in range(0, len(table), _BLOCK):
        for name in columns:
            cells = table[name].slice(first, _BLOCK).combine_chunks()
            lengths = pc.fill_null(pc.binary_length(cells), -1)
            found.update(np.asarray(lengths).astype("<i4").tobytes())
            found.update(joined(pc.fill_null(cells, "")))
    return found.hexdigest()


def joined(cells: pa.StringArray, separator: str = "") -> pa.Buffer:
    """The bytes of an array of strings, none of them null, one after the other."""
    whole = pa.ListArray.from_arrays(pa.array([0, len(cells)], pa.int32()), cells)
    return pc.binary_join(whole, separator)[0].as_buffer()


def _large(cells: pa.ChunkedArray) -> pa.Array:
    """A column of strings as one array; the bytes are copied when it has several chunks."""
    return cells.cast(pa.large_string()).combine_chunks()


def _taken(column: pa.ChunkedArray, order: pa.Array) -> pa.ChunkedArray:
    """Cells of a column in another order, in chunks that cannot be too long."""
    whole = _large(column) if column.type == pa.string() else column.combine_chunks()
    blocks = (order.slice(first, _BLOCK) for first in range(0, len(order), _BLOCK))
    return pa.chunked_array([whole.take(block).cast(column.type) for block in blocks])
