"""The benchmarks run at toy sizes, and what they measured becomes a page."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmarks import continual, delivery, discover, faces, memory, predict, step, video
from benchmarks.harness import TITLES, Report, number, pairs, render
from benchmarks.memory import peak


def written(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_pairs_run_in_turn_and_the_first_is_not_counted():
    calls = []
    old, new = pairs(lambda: calls.append("old"), lambda: calls.append("new"), rounds=3)
    assert calls == ["old", "new"] * 4
    assert (len(old), len(new)) == (3, 3)


def test_a_row_quotes_the_median_of_the_ratios_within_pairs(tmp_path):
    # The machine is twice as slow in the last pair: the medians alone would say 30 / 10.
    report = Report("step", tmp_path)
    report.compare("work", "s", ([30, 30, 80], [10, 6, 20]), 3.5)
    report.compare("less", "s", ([3], [1]), 4)
    report.compare("without a goal", "s", ([3], [1]))
    first, second, third = written(tmp_path)["rows"]
    value = "plain 30.0, ours 10.0 s: **4.00x** (3.00 to 5.00, n=3), met"
    assert first == {"what": "work", "value": value, "goal": "at least 3.5x"}
    assert second["value"].endswith("not met")
    assert third["goal"] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.00012, "0.00012"), (0.0123, "0.0123"), (9.994, "9.99"), (1234.5, "1,234")],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_the_page_has_a_table_a_topic_and_a_column_a_machine(tmp_path):
    for machine, values in (("A", {"x": "1", "y": "2"}), ("B", {"y": "3"})):
        report = Report("step", tmp_path, machine)
        for what, value in values.items():
            report.add(what, value, "less")
    Report("memory", tmp_path, "A").add("split", "5 MiB")
    text = render(tmp_path, tmp_path / "page.md").read_text()
    assert "| what | goal | A | B |" in text
    assert "| x | less | 1 |  |" in text
    assert "| y | less | 2 | 3 |" in text
    assert text.index(TITLES["step"]) < text.index(TITLES["memory"])


def test_the_peak_of_a_process_is_its_own():
    mine = bytearray(b"\1" * (300 * 2**20))  # more than the process will hold
    few, many = (peak(os.urandom, num * 2**20) for num in (10, 110))
    assert 95 < many - few < 115
    assert few < 250 < len(mine) / 2**20


@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("module", "arguments", "num_rows"),
    [
        (delivery, ["--quick"], 2),
        (step, ["--quick"], 1),
        (predict, ["--quick"], 4),
        (memory, ["--images", "300", "600"], 4),
        (video, ["--quick"], 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_benchmark_runs_at_toy_size(module, arguments, num_rows, tmp_path):
    module.main(arguments, Report(module.__name__.rpartition(".")[2], tmp_path))
    assert len(written(tmp_path)["rows"]) == num_rows


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_rounds_of_types_run_at_toy_size(tmp_path):
    report = Report("continual-supervised", tmp_path)
    sets = ["data.views.size=32", "data.views.crop_size=36", "data.batch_size=32"]
    options = ["--method", "supervised", "--seeds", "0", "--images", "40", "--epochs", "1"]
    continual.main([*options, "--per-epoch", "32", "--set", *sets], report)
    rows = written(tmp_path)["rows"]
    assert len(rows) == 2 * (5 + 4)
    assert rows[0]["what"].startswith("round 2, anew: accuracy of 5 old and 3 new types")


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_table_of_found_faces_is_made_at_toy_size(capsys):
    faces.main(["--quick", "--most", "2"])
    assert "| 112 px | 100 / 100 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_measurement_of_a_gpu_runs_at_toy_size(tmp_path):
    # In a process of its own, where no types are checked: the checks cannot be compiled.
    command = [sys.executable, "-m", "benchmarks.gpu", "--toy", "--output", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    rows = {row["what"]: row["value"] for row in written(tmp_path)["rows"]}
    assert not any("failed" in value for value in rows.values())
    (resumed,) = (value for what, value in rows.items() if "bit-identical" in what)
    assert resumed == "yes, met"


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_measurement_of_a_cluster_runs_at_toy_size(tmp_path):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'owdfa[ray]'")
    program = (
        "import sys; from pathlib import Path; from benchmarks import cluster, harness;"
        "cluster.main(['--quick'], harness.Report('cluster', Path(sys.argv[1])));"
        "cluster.main(['--quick', '--rows', '30'], harness.Report('memory', Path(sys.argv[2])))"
    )
    folders = [tmp_path / name for name in ("pairs", "memory")]
    # In a process of its own, since Ray warns of what tests treat as errors.
    subprocess.run([sys.executable, "-c", program, *folders], check=True, capture_output=True)
    assert [len(written(folder)["rows"]) for folder in folders] == [1, 2]


@pytest.mark.benchmark
def test_the_measurement_of_groups_runs_at_toy_size(capsys):
    discover.main(["--images", "300", "--dim", "16", "--types", "4"])
    assert "300 images of 16 features" in capsys.readouterr().out
