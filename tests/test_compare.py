"""owdfa compare: a grid that goes on where it was stopped, and the table of it."""

import csv
import json
import os
import signal
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from command_line import cli, done, make_noise, refused
from owdfa.compare import workers
from owdfa.compare.cell import SETTINGS, is_done, write_cell
from owdfa.compare.grid import Cell, numbers, parse_row, short_names
from owdfa.compare.summary import RowKey, difference, reference_of, summarise
from owdfa.compare.tables import Table, gap, latex, markdown, number
from owdfa.errors import UserError
from owdfa.metrics.intervals import MEASURES
from owdfa.records.file_properties import NAME, FileProperties
from owdfa.records.provenance import Provenance
from owdfa.runs.settings import load_settings
from tiny_data import TINY

PROTOCOL = '[p1]\nknown = ["a", "b"]\nnovel = ["c"]\n'
MACHINE = ("minutes", "peak memory, GiB")


def settings(*more):
    pairs = [pair for pair in TINY if not pair.startswith("epochs")]
    return [part for pair in (*pairs, "epochs=1", *more) for part in ("--set", pair)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare")
    make_noise(place / "photos")
    (place / "own.toml").write_text(PROTOCOL)
    return place


def arguments(folder, output, *more):
    return [
        "compare", f"folder:{folder / 'photos'}", "-o", output,
        "--protocols", f"{folder / 'own.toml'}/p1", "--recipe", "tiny", *more,
    ]  # fmt: skip


def table_of(output):
    """Rows of cells.csv, without what depends on the machine."""
    with (output / "cells.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if k not in MACHINE} for row in rows]


@pytest.fixture(scope="module")
def whole(folder):
    """A comparison of two rows that nothing disturbed."""
    rows = ("--methods", "cal,supervised", "--seeds", "0..1", "--jobs", "2")
    grid = arguments(folder, folder / "whole", *rows, *settings())
    return grid, done(*grid)


def test_a_grid_becomes_one_table(folder, whole):
    output = folder / "whole"
    rows = table_of(output)
    assert len(rows) == 4
    assert {row["row"] for row in rows} == {"cal", "supervised"}
    assert {row["classes"] for row in rows if row["row"] == "supervised"} == {"-"}
    page = (output / "index.html").read_text()
    text = (output / "table.md").read_text()
    for name in ("cal", "supervised"):
        assert name in page
        assert f"| {name} |" in text
        assert name in (output / "table.tex").read_text()
        assert name in whole[1]
    assert "less cal" in text
    assert "compare folder:" in text  # the command


def test_what_is_done_stays_and_more_can_be_added(folder, whole):
    output = folder / "whole"
    cells = sorted(output.glob("cells/**/run.json"))
    before = [cell.stat().st_mtime_ns for cell in cells]
    table = table_of(output)
    out = done(*whole[0])
    assert "4 of 4 cells are done already" in out
    assert table_of(output) == table
    more = [each if each != "0..1" else "0..2" for each in whole[0]]
    more = [each if each != "cal,supervised" else "supervised" for each in more]
    done(*more)
    assert [row["seed"] for row in table_of(output)] == ["0", "1", "2"]
    assert [cell.stat().st_mtime_ns for cell in cells] == before
    assert table_of(output)[:2] == [row for row in table if row["row"] == "supervised"]
    done(*whole[0])


def test_a_cell_that_was_cut_off_goes_on_and_has_no_time(folder, whole):
    output = folder / "whole"
    table = table_of(output)
    cut_off = next(output.glob("cells/cal/**/cost.json"))
    cut_off.unlink()
    assert "3 of 4 cells are done already" in done(*whole[0])
    assert json.loads(cut_off.read_text())["attempts"] == 2
    assert table_of(output) == table
    with (output / "cells.csv").open() as stream:
        assert [row["minutes"] for row in csv.DictReader(stream)].count("") == 1


def test_settings_may_change_before_a_cell_has_begun(tmp_path):
    cell = make_cell()
    for epochs in (1, 2):
        asked = load_settings("cal-tiny", explicit={"epochs": epochs})
        assert not is_done(tmp_path, cell, asked)
        write_cell(tmp_path, cell, asked)
        assert load_settings("none", tmp_path / cell.folder / SETTINGS) == asked


def test_cells_of_other_settings_are_refused(folder, whole):
    line = refused(*whole[0], "--set", "optimiser.lr=0.02")
    assert "was begun with other settings (optimiser.lr" in line


def test_killed_again_and_again_it_ends_in_the_same_table(folder, whole):
    output = folder / "killed"
    grid = [str(each) for each in whole[0]]
    grid[grid.index(str(folder / "whole"))] = str(output)
    command = [sys.executable, "-m", "owdfa", *grid]
    generator = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(2, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done(*grid)
    assert table_of(output) == table_of(folder / "whole")


def test_a_killed_cell_is_tried_again_and_given_up_in_the_end(tmp_path, monkeypatch):
    cell = make_cell()
    (tmp_path / cell.folder).mkdir(parents=True)
    script = tmp_path / "python"
    counter = tmp_path / "count"
    script.write_text(
        f"#!/bin/sh\necho x >> {counter}\n[ $(wc -l < {counter}) -gt 2 ] || kill -9 $$\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(workers.sys, "executable", str(script))
    ended = []
    workers.Local(1).run(tmp_path, [cell], lambda *each: ended.append(each))
    assert ended == [(cell, None)]
    assert counter.read_text().count("x") == 3
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    workers.Local(1).run(tmp_path, [cell], lambda *each: ended.append(each))
    assert "was killed 4 times" in ended[1][1]


def test_a_cell_that_fails_stops_no_other_and_is_listed(folder, tmp_path):
    rows = "supervised,supervised:optimiser.lr=1e38:optimiser.name=sgd"
    ended = cli(
        *arguments(folder, tmp_path / "out", "--methods", rows, "--seeds", "0", *settings())
    )
    assert ended.status == 1
    assert "failed: " in ended.stdout
    assert "loss nan" in " ".join(ended.stdout.split())
    assert len(table_of(tmp_path / "out")) == 1
    assert "is missing:" in (tmp_path / "out" / "table.md").read_text()


def test_mistakes_are_told_before_anything_is_trained(folder, tmp_path):
    def said(*more, protocol=None):
        grid = arguments(folder, tmp_path / "out", *more)
        if protocol:
            grid[grid.index("--protocols") + 1] = protocol
        return refused(*grid)

    assert "did you mean 'simgcd'" in said("--methods", "simgdc")
    assert "wraps no other" in said("--methods", "cal+cpl")
    assert "names a row twice" in said("--methods", "cal,cal")
    assert "is no row; there are: cal" in said("--methods", "cal", "--against", "cpl")
    assert "images of different sizes" in said("--methods", "cal,simgcd@simgcd")
    assert "write 0..4 or 0,1,2" in said("--methods", "cal", "--seeds", "4..0")
    assert "no recipe 'huge'" in said("--methods", "cal@huge")
    assert "no setting 'epoch'" in said("--methods", "cal:epoch=3")
    line = refused(
        "compare", "-o", tmp_path / "out", "--methods", "cal", "--protocols", "owdfa40/p1"
    )
    assert "say where its images are, e.g. owdfa40:DIR" in line
    assert "names nothing" in said("--methods", ",")
    assert "write how many side by side" in said("--methods", "cal", "--jobs", "-1")
    assert "did you mean 'gcd'" in said("--methods", "cal", "--classes", "auto:gdc")
    assert "every row must be told" in said("--methods", "cpl", "--classes", "auto")
    line = said("--methods", "cal", protocol=f"{folder / 'own.toml'}/p2")
    assert "no protocol named" in line
    assert not (tmp_path / "out").exists()


def test_rows_and_seeds_as_written():
    row = parse_row("cdal+mpsl@gpu:epochs=3:seed=4", "tiny")
    assert row.method == {"name": "cdal", "base": {"name": "mpsl"}}
    assert (row.recipe, row.overrides) == ("gpu", ("epochs=3", "seed=4"))
    assert parse_row("cal", "tiny").recipe == "tiny"
    assert numbers("0..2,7,1", "--seeds") == (0, 1, 2, 7)
    with pytest.raises(UserError):
        numbers("x", "--seeds")


def make_cell(row="cal", classes="true", split_seed=1, seed=0):
    return Cell(
        row=row, classes=classes, protocol="lab/p1", split_seed=split_seed, seed=seed,
        split="splits/x", store="data/x/store",
    )  # fmt: skip


def provenance(**changes):
    made = {
        "method": "cal", "backbone": "tiny/trace8w16", "seed": 0, "selection": "last",
        "split_digest": None, "weights_digest": None, "precision": "32-true", "commit": "c",
        "environment": {}, **changes,
    }  # fmt: skip
    return Provenance.model_validate(made)


def result(value, draws=None, **which):
    scores = SimpleNamespace(provenance=provenance(), file_properties=None)
    drawn = np.full((len(draws), len(MEASURES)), np.nan) if draws is not None else None
    if drawn is not None:
        drawn[:, 0] = draws
    cell = make_cell(**which)
    return SimpleNamespace(
        cell=cell, scores=scores, values={"gcd-v2 all": value}, draws=drawn, estimated=None
    )


def test_own_protocols_have_short_names():
    assert short_names(["a/my.toml/p1", "lab/p1", "x.toml"]) == {
        "a/my.toml/p1": "my/p1", "lab/p1": "lab/p1", "x.toml": "x",
    }  # fmt: skip
    with pytest.raises(UserError, match="same name"):
        short_names(["a/my.toml/p1", "b/my.toml/p1"])


def test_spreads_over_seeds_and_splits_are_apart():
    cells = [
        result(0.5, split_seed=1, seed=0),
        result(0.7, split_seed=1, seed=1),
        result(0.8, split_seed=2, seed=0),
        result(0.8, split_seed=2, seed=1),
    ]
    found = summarise(cells, "gcd-v2 all")
    assert found.mean == pytest.approx((0.6 + 0.8) / 2)
    assert found.over_seeds == pytest.approx(np.sqrt((0.02 + 0.0) / 2))
    assert found.over_splits == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert number(found, "gcd-v2 all") == "70.0 ± 10.0 / 14.1"
    assert number(summarise(cells[:1], "gcd-v2 all"), "gcd-v2 all") == "50.0"
    assert summarise(cells, "AUROC") is None


def test_differences_are_of_pairs_with_equal_seeds():
    draws = np.linspace(0, 1, 101)
    row = [result(0.6, draws, seed=0), result(0.9, draws, seed=1), result(0.1, draws, seed=9)]
    other = [result(0.5, draws - 0.1, seed=0), result(0.6, draws - 0.3, seed=1)]
    found = difference(row, other, "gcd-v2 all")
    assert found.num == 2
    assert found.mean == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.2, 0.2))  # what moves both alike is no difference
    assert found.over_pairs == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert gap(found) == "+20.0 (+20.0 to +20.0)"
    assert difference(row[2:], other, "gcd-v2 all") is None


def test_a_row_is_compared_with_the_reference_that_was_told_as_much():
    keys = [RowKey("p", "cal", "true"), RowKey("p", "cal", "auto"), RowKey("p", "cpl", "auto")]
    rows = {key: [] for key in keys}
    assert reference_of(rows, keys[2], "cal") == keys[1]
    assert reference_of(rows, keys[0], "cal") is None
    assert reference_of(rows, RowKey("q", "cpl", "true"), "cal") is None


def test_an_oracle_is_stamped_in_the_table():
    cell = result(0.5)
    cell.scores.provenance = provenance(selection="oracle")
    rows = {RowKey("lab/p1", "cal", "true"): [cell]}
    assert "cal (oracle)" in markdown(Table(rows, "cal", [], []))


def test_what_the_files_alone_give_away_is_a_row_the_mean_over_splits():
    cells = [result(0.5, split_seed=1), result(0.7, split_seed=1), result(0.8, split_seed=2)]
    for cell, share in zip(cells, (0.5, 0.5, 0.25), strict=True):
        shares = {"all": share, "known": 2 * share}
        cell.scores.file_properties = FileProperties(("format",), shares, shares)
    table = Table({RowKey("lab/p1", "cal", "true"): cells}, "cal", [], [])
    assert table.files("lab/p1")["gcd-v2 all"] == 0.375
    row = f"| {NAME} | - | 37.5 | 75.0 | - | 37.5 | 75.0 | - | - |"
    assert row in markdown(table)
    assert f"{NAME} & -- & 37.5 & 75.0 & - & 37.5" in latex(table)


@pytest.mark.slow
def test_a_ray_cluster_ends_in_the_same_table(folder, whole, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'owdfa[ray]'")
    grid = [str(each) for each in whole[0]]
    grid[grid.index(str(folder / "whole"))] = str(tmp_path / "ray")
    command = [sys.executable, "-m", "owdfa", *grid, "--ray", "auto"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert table_of(tmp_path / "ray") == table_of(folder / "whole")
