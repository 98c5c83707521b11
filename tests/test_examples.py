"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "python_api.py"


@pytest.mark.slow
def test_the_python_example_prints_scores_and_writes_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(EXAMPLE), str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["all", "known", "novel", "report:"]
    assert (tmp_path / "report.html").stat().st_size > 10_000
