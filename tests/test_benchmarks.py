"""The harness of the benchmarks: what it makes of what was measured."""

import json

import pytest

from benchmarks.harness import Comparison, Report, number, pairs
from benchmarks.render import render


def test_pairs_run_in_turn_and_the_first_is_not_counted():
    calls = []
    old, new = pairs(lambda: calls.append("old"), lambda: calls.append("new"), rounds=3)
    assert calls == ["old", "new"] * 4
    assert (len(old), len(new)) == (3, 3)


def test_a_comparison_quotes_the_median_of_the_ratios_within_pairs():
    # The machine is twice as slow in the last pair: the medians alone would say 30 / 6.
    row = Comparison("work", "ms", [30, 30, 80], [10, 6, 20], goal=4, limit=3, limit_is="copies")
    what, unit, plain, ours, ratio, goal, limit = row.cells()
    assert (what, unit, plain, ours) == ("work", "ms", "30.0", "10.0")
    assert ratio == "4.00x (3.00 to 5.00, n=3)"
    assert goal == "4x: met"
    assert limit == "3.00 (30%); copies"
    assert "not met" in Comparison("work", "ms", [3], [1], goal=4).cells()[5]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.00012, "0.00012"), (0.0123, "0.0123"), (9.994, "9.99"), (1234.5, "1,234")],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_a_report_becomes_a_section_and_a_plot(tmp_path):
    report = Report("toy", "A toy.\n\nMore.")
    for side in (64, 256):
        report.add(Comparison(f"{side} px", "ms", [3.0, 3.1], [1.0, 1.1], at={"side": side}))
    report.table("memory", ["rows", "MiB"], [["10", 1.5]])
    report.note("a note")
    report.write(tmp_path / "results")
    assert json.loads((tmp_path / "results" / "toy.json").read_text())["title"] == "A toy"
    page, plot = render(tmp_path / "results", tmp_path / "page.md", tmp_path / "plot.svg")
    text = page.read_text()
    for part in (
        "## A toy",
        "`python -m benchmarks.toy`",
        "| 64 px |",
        "| 10 | 1.50 |",
        "* a note",
    ):
        assert part in text
    drawn = plot.read_text()
    assert drawn.startswith("<?xml")
    render(tmp_path / "results", tmp_path / "page.md", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn
