import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from owdfa.errors import UserError
from owdfa.files import read_table, table_writer, write_table

SCHEMA = pa.schema([("id", pa.string()), ("values", pa.list_(pa.float32()))])
NOTE = {"run": "runs/a", "classes": ["real", "Überblendung"]}


def left_in(folder):
    return [path.name for path in folder.iterdir()]


def failing(path, error):
    with table_writer(path, SCHEMA, {}) as write:
        write(batch(0, 1000))
        raise error("stop")


def batch(first, rows):
    ids = [f"{i:04d}" if i % 7 else None for i in range(first, first + rows)]
    return pa.record_batch([ids, [[float(i)] * 3 for i in range(rows)]], schema=SCHEMA)


@pytest.mark.parametrize("group_bytes", [1, 500, 1 << 24])
def test_batches_become_the_file_that_their_table_would(tmp_path, monkeypatch, group_bytes):
    monkeypatch.setattr("owdfa.files._GROUP_BYTES", group_bytes)
    batches = [batch(10 * i, 10) for i in range(9)] + [batch(90, 0), batch(90, 3)]
    with table_writer(tmp_path / "new" / "a.parquet", SCHEMA, NOTE) as write:
        for each in batches:
            write(each)
        assert not (tmp_path / "new" / "a.parquet").exists()
    write_table(tmp_path / "b.parquet", pa.Table.from_batches(batches), NOTE)
    written, expected = tmp_path / "new" / "a.parquet", tmp_path / "b.parquet"
    assert read_table(written, SCHEMA, what="it") == read_table(expected, SCHEMA, what="it")
    assert pq.read_schema(written).equals(pq.read_schema(expected), check_metadata=True)
    assert left_in(tmp_path / "new") == ["a.parquet"]


def test_a_file_of_no_rows(tmp_path):
    with table_writer(tmp_path / "a.parquet", SCHEMA, NOTE):
        pass
    table, note = read_table(tmp_path / "a.parquet", SCHEMA, what="it")
    assert (table.num_rows, note) == (0, NOTE)


@pytest.mark.parametrize("error", [RuntimeError, UserError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.parquet"
    write_table(path, pa.Table.from_batches([batch(0, 5)]), NOTE)
    before = path.read_bytes()
    with pytest.raises(error):
        failing(path, error)
    assert path.read_bytes() == before
    assert left_in(tmp_path) == ["a.parquet"]


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with (
        pytest.raises(UserError, match=r"a\.parquet: the disk is full; free some space"),
        table_writer(tmp_path / "a.parquet", SCHEMA, {}) as write,
    ):
        write(batch(0, 10))
    assert left_in(tmp_path) == []


def test_a_batch_of_another_schema_is_refused(tmp_path):
    other = pa.record_batch([[1]], names=["id"])
    with (
        pytest.raises(ValueError, match="Schema at index 0 was different"),
        table_writer(tmp_path / "a.parquet", SCHEMA, {}) as write,
    ):
        write(other)
    assert left_in(tmp_path) == []


FILL = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from owdfa.files import table_writer

schema = pa.schema([("values", pa.list_(pa.float32()))])
offsets = pa.array(np.arange(65, dtype=np.int32) * 1024)
rng = np.random.default_rng(0)
with table_writer(Path(sys.argv[1]), schema, {}) as write:
    for part in range(400):  # 100 MiB
        if part == 100:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values = pa.array(rng.random(64 * 1024, dtype=np.float32))
        write(pa.record_batch([pa.ListArray.from_arrays(offsets, values)], schema=schema))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Of 75 MiB more, at most a row group and what the allocators keep stays in memory."""
    command = [sys.executable, "-c", FILL, str(tmp_path / "a.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "a.parquet").stat().st_size > 80 * 2**20
    assert float(done.stdout) < 32
