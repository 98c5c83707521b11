"""The README's commands run as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from owdfa.cli.main import app

README = Path(__file__).parents[1] / "README.md"


def steps() -> list[list[str]]:
    block = re.search(r"<!-- steps -->\n```sh\n(.*?)```", README.read_text("utf-8"), re.S)
    assert block is not None
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


@pytest.mark.slow
def test_the_steps_of_the_readme(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for program, *arguments in steps():
        assert program == "owdfa"
        app(arguments, standalone_mode=False)
    assert "gcd-v2" in capfd.readouterr().out
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "</html>" in page
