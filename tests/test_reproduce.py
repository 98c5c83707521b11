"""owdfa reproduce: published rows, and our runs beside them."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from command_line import done, refused
from official_release import cal, release
from owdfa import catalog
from owdfa.compare import workers
from owdfa.compare.cell import run_cell
from owdfa.compare.grid import parse_row
from owdfa.errors import UserError
from owdfa.progress import no_progress
from owdfa.protocols import read_protocol
from owdfa.reproduce import UP_TO_ROUNDING, ReproduceOptions, reproduce
from owdfa.reproduce.rows import PARTS, find_row, published_rows
from owdfa.reproduce.verdict import Way, limit, verdict
from owdfa.training.checkpoints import MAY_CHANGE
from small_benchmarks import MAKERS, SMALLEST

ROWS = {row.name: row for row in published_rows()}
RUNNABLE = [row for row in ROWS.values() if row.why_not is None]
KNOWN_K = ROWS["cal/owdfa40-p1-known-k"]
SETS = [part for pair in SMALLEST for part in ("--set", pair)]


class InThisProcess:
    """Runs cells without starting a process for each."""

    def run(self, root, cells, on_cell):
        for cell in cells:
            run_cell(root, cell.folder)
            on_cell(cell, None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Miniature copies of the benchmarks, by name."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduced")


def reproduced(row, sources, output, **more):
    """Reproduce a row in this process."""
    given = {"seeds": (0,), "overrides": tuple(SMALLEST), **more}
    options = ReproduceOptions(row=row.name, source=sources[row.dataset], **given)
    show, tell = (lambda _: nullcontext(no_progress)), (lambda _: None)
    return reproduce(output / row.dataset, options, InThisProcess(), show=show, tell=tell)


def test_every_published_row_is_listed_with_its_numbers():
    listed = done("reproduce", "--list")
    assert len(ROWS) == len(published_rows())
    for row in ROWS.values():
        (line,) = [each for each in listed.splitlines() if each.split()[:1] == [row.name]]
        assert ("published only" in line) == (row.why_not is not None)
        for value in row.published or ():
            assert f"{value:.1f}" in line
    assert max(map(len, listed.splitlines())) <= 100
    some = done("reproduce", "--list", "ablation", "p1")
    assert "cal/owdfa40-p1-no-acr" in some
    assert "simgcd" not in some


def test_published_numbers_are_those_of_the_papers():
    assert KNOWN_K.published == (88.3, 98.0, 76.5)
    assert ROWS["cal/owdfa40-p3-unknown-k"].num_classes == 40
    rerun = ROWS["cal/owdfa40-p1-known-k-rerun"]
    assert rerun.published == pytest.approx((88.293, 98.13, 76.15), abs=1e-3)
    assert rerun.seeds == (2025, 2026, 2027)
    assert KNOWN_K.spread == rerun.spread == pytest.approx((0.283, 0.101, 0.597), abs=1e-3)
    assert ROWS["cpl/owdfa-p1"].published == (83.7, 97.5, 71.89)
    assert ROWS["cpl/owdfa-p1"].spread is None


@pytest.mark.parametrize("row", RUNNABLE, ids=lambda row: row.name)
def test_every_runnable_row_resolves(row):
    assert row.dataset in catalog.names("datasets")
    protocol = read_protocol(row.protocol)
    grid = row.grid("x:y", (row.entry.selection, "last"))
    published, honest = (parse_row(text, None).settings(grid) for text in grid.methods)
    assert honest.differences(published) == ["selection oracle there, last here"]
    assert protocol.known
    assert protocol.novel
    fast, tiny = (
        parse_row(row.text(row.entry.selection, recipe), None).settings(grid)
        for recipe in ("gpu", "tiny")
    )
    assert not fast.differences(published, (*MAY_CHANGE, *UP_TO_ROUNDING))
    assert tiny.differences(published, (*MAY_CHANGE, *UP_TO_ROUNDING))


def test_a_method_that_is_not_here_is_published_only():
    line = refused("reproduce", "owmatch/owdfa40-p1", "owdfa40:x", "-o", "out")
    assert "published only: no such method here" in line
    assert "auto:gcd" in refused("reproduce", "gcd/owdfa40-p1-estimate")


def test_mistakes_are_told_in_a_line(sources, tmp_path):
    name, source = KNOWN_K.name, sources["owdfa40"]

    def said(*args):
        return refused("reproduce", *args, "-o", tmp_path / "out")

    assert "did you mean 'cal/owdfa40-p1-known-k'" in said("cal/owdfa40-p1-known", source)
    assert "did you mean 'cal/owdfa40-p1-known-k'" in said("cal/owdfa40-p1-knwon-k", source)
    assert "--list has all" in said("zzz", source)
    assert "name them as owdfa40:PATH" in said(name, f"folder:{tmp_path}")
    assert "looked for the published folders of OWDFA-40" in said(name, "owdfa40:nowhere")
    assert "e.g. owdfa reproduce cal/owdfa40-p1-known-k owdfa40:PATH" in said(name)
    assert "name a row" in said()
    assert "say where to write" in refused("reproduce", name, source)
    assert "write paper or group" in said(name, source, "--rule", "own")
    assert "selection is what the row" in said(name, source, "--set", "selection=last")
    ablated = ROWS["cal/owdfa40-p1-no-ffe"].name
    assert "method.ffe is what the row" in said(ablated, source, "--set", "method.ffe=true")
    assert "no recipe 'huge'" in said(name, source, "--recipe", "huge")
    assert "no published row has 'zzz'" in refused("reproduce", "--list", "zzz")
    assert not (tmp_path / "out").exists()


def test_a_row_runs_as_published_and_with_the_last_checkpoint(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "Local", lambda num: InThisProcess())
    name = "cal/owdfa40-p1-unknown-k"
    command = ["reproduce", name, sources["owdfa40"], "-o", tmp_path / "out", "--seeds", "0", *SETS]
    out = " ".join(done(*command).split())
    assert "as published (oracle)" in out
    assert "last checkpoint" in out
    assert "Verdict: not comparable: settings or data differ." in out
    assert "epochs 50 published, 1 here" in out
    assert "210 of the 94,000 images" in out
    found = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    oracle, last = found["ways"]
    assert [way["selection"] for way in found["ways"]] == ["oracle", "last"]
    assert oracle["runs"][0]["provenance"]["selection"] == "oracle"
    assert last["runs"][0]["provenance"]["selection"] == "last"
    assert found["published"]["accuracy"] == [87.5, 98.2, 74.5]
    ours = oracle["accuracy"]["paper"]["all"]["mean"]
    assert oracle["points_above_published"]["all"] == pytest.approx(100 * ours - 87.5)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| as published (oracle) |" in table
    assert "| published | 87.5 ± 0.6 |" in table
    assert "2 of 2 cells are done already" in done(*command)


def test_a_split_that_cuts_no_group_beside_the_paper_s(sources, output):
    made = reproduced(ROWS["supervised/owdfa-p1-known"], sources, output, group=True)
    assert [(way.selection, way.rule) for way in made.ways] == [
        ("oracle", "paper"), ("last", "paper"), ("last", "group"),
    ]  # fmt: skip
    assert [way.label for way in made.ways] == [
        "as published (oracle)", "last checkpoint", "last checkpoint, groups kept whole",
    ]  # fmt: skip
    rules = [way.results[0].scores.split["rule"] for way in made.ways]
    assert rules == ["paper", "paper", "group"]
    assert made.ways[1].results[0].scores.split["seed"] == 1234


def test_an_official_checkpoint_is_scored(sources, output, tmp_path):
    protocol = read_protocol("owdfa40/p1")
    num_known = len(protocol.known)
    path = release(cal(num_known + len(protocol.novel), num_known), tmp_path / "c.ckpt")
    made = reproduced(KNOWN_K, sources, output, checkpoint=path, split_seeds=(1, 2))
    (way,) = made.ways
    assert [each.scores.split["seed"] for each in way.results] == [1, 2]
    assert way.results[0].scores.provenance.selection == "oracle"
    assert way.summary("all") is not None
    assert len(made.differs) == 1  # the images, and no setting of a training
    assert "may have been trained on some of these test images" in made.notes[-1]
    with pytest.raises(UserError, match=r"c.ckpt: was given the number of classes"):
        reproduced(ROWS["cal/owdfa40-p1-unknown-k"], sources, output, checkpoint=path)
    with pytest.raises(UserError, match="is no checkpoint of cpl"):
        reproduced(ROWS["cpl/owdfa40-p1"], sources, output, checkpoint=path)
    with pytest.raises(UserError, match="leave --rule group out"):
        reproduced(KNOWN_K, sources, output, checkpoint=path, group=True)
    with pytest.raises(UserError, match="cannot be read"):
        reproduced(KNOWN_K, sources, output, checkpoint=tmp_path / "none")


@pytest.mark.slow
def test_every_runnable_row_runs_on_a_miniature_copy_of_its_data(sources, output):
    for row in RUNNABLE:
        made = reproduced(row, sources, output)
        assert not made.failed, row.name
        assert [len(way.results) for way in made.ways] == [1, 1], row.name
        for way in made.ways:
            assert all(way.summary(part) is not None for part in PARTS), row.name
            oracle = way.selection == "oracle" or row.entry.recipe == "all"
            assert way.label.endswith("(oracle)") == oracle, row.name


def way(*accuracies):
    """Runs of the same accuracies on all, known and novel images, in %."""
    results = [
        SimpleNamespace(
            cell=SimpleNamespace(split_seed=1),
            values={f"paper {part}": value / 100 for part, value in zip(PARTS, each, strict=True)},
        )
        for each in accuracies
    ]
    return Way("as published", "oracle", "paper", results)


def test_the_verdict_follows_the_stated_rule():
    row = KNOWN_K._replace(published=(80.0, 90.0, 70.0), spread=(1.0, 0.1, 3.0))
    ours = way((81.0, 91.0, 70.0), (83.0, 91.0, 70.0))
    assert limit(row, ours, "all") == pytest.approx(2 * (2.0 + 1.0) ** 0.5)  # variances add up
    assert limit(row, ours, "known") == 0.5
    assert verdict(row, ours, []) == "agrees: All +2.0, Novel +0.0; better: Known +1.0"
    assert verdict(row, way((79.0, 90.4, 75.0)), []) == "agrees (All -1.0, Known +0.4, Novel +5.0)"
    assert "worse: All -9.0" in verdict(row, way((71.0, 90.0, 70.0)), [])
    assert verdict(row, ours, ["epochs"]).startswith("not comparable")
    unknown = row._replace(spread=None)
    assert verdict(unknown, way((80.0, 90.0, 70.0)), []).startswith("no verdict: one run")
    assert verdict(unknown, ours, []) == "agrees: All +2.0, Novel +0.0; better: Known +1.0"
    assert verdict(row, way(), []) == "no verdict: no run of it is finished"


def test_find_row_refuses_what_cannot_be_run():
    assert find_row(KNOWN_K.name).name == KNOWN_K.name
    with pytest.raises(UserError, match="did you mean"):
        find_row("cal/owdfa40-p4-known-k")
