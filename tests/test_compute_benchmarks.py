"""The benchmarks of FFE, a step and an epoch's end run at toy sizes and write their reports."""

import json

import pytest

from benchmarks import epoch_end, ffe, harness, step


@pytest.mark.parametrize("module", [ffe, step, epoch_end])
def test_a_benchmark_writes_what_it_measured(module, tmp_path, monkeypatch):
    monkeypatch.setattr(harness.Report.write, "__defaults__", (tmp_path,))
    module.main(["--quick", "--rounds", "2"])
    (written,) = tmp_path.glob("*.json")
    report = json.loads(written.read_text())
    assert written.stem == module.__name__.rpartition(".")[2]
    assert report["notes"]
    for comparison in report["comparisons"]:
        assert len(comparison["ours"]) == len(comparison["baseline"]) >= 2
        assert min(comparison["ours"]) > 0
