"""What measures memory measures it, and the toy size of ten million rows goes through."""

import json

import pytest

from benchmarks import growth
from benchmarks.memory import Measured
from benchmarks.peak import cost, slope
from owdfa.records.manifest import Manifest
from owdfa.records.scores import Scores


def held(num_mib):
    """Hold some memory for a moment."""
    return len(bytearray(num_mib * 2**20).replace(b"\0", b"\1", 1))


def test_the_peak_of_a_process_is_its_own():
    mine = bytearray(b"\1" * (300 * 2**20))  # more than the process will hold
    few, many = cost(held, 10), cost(held, 110)
    assert (few.result, many.result) == (10 * 2**20, 110 * 2**20)
    assert 190 < many.mib - few.mib < 230  # two of each
    assert few.mib < 250 < len(mine) / 2**20
    assert few.seconds > 0


def test_a_process_keeps_to_its_limit():
    with pytest.raises(MemoryError):
        cost(held, 3000, cap=2)


def test_a_slope_is_between_the_two_largest_sizes():
    assert slope([10, 1_000_000, 100_000], [50.0, 190.0, 100.0]) == 90 * 2**20 / 900_000


def test_measurements_become_tables():
    table = Measured()
    for size, mib in ((10, 100.0), (20, 110.0)):
        table.add("images", "scan", size, mib)
        table.add("classes", "train", size, 7.0)
    (title, head, rows), other = table.tables()
    assert title == "Peak memory against the number of images"
    assert head == ["MiB", "10", "20", "bytes for each of the images"]
    assert rows == [["scan", 100.0, 110.0, 2**20]]
    assert other[2] == [["train", 7.0, 7.0, 0.0]]


@pytest.mark.parametrize("more", [[], ["--no-files"]])
def test_growth_at_toy_size(tmp_path, more):
    folder = tmp_path / "work"
    folder.mkdir()
    arguments = ["--images", "20000", "--keep", "--folder", str(folder), *more]
    growth.main(arguments if more else [*arguments[:1], "600", *arguments[2:]], tmp_path)
    (table,) = json.loads((tmp_path / "growth.json").read_text())["tables"]
    stages = [row[0] for row in table["rows"]]
    assert stages == ["split", "score"] if more else ["scan", "split", "score"]
    rows = Manifest.read(folder / "images.parquet").table
    assert rows["id"].to_pylist() == sorted(rows["id"].to_pylist())
    assert rows.num_rows == (20_000 if more else 600)
    assert {len(id_) for id_ in rows["id"].to_pylist()} == {63}
    assert Scores.read(folder / "scores.json").num_images["without_truth"] == 0
