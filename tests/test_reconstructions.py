"""A method whose paper gives neither code nor numbers says so, with what was chosen, everywhere."""

from pathlib import Path

import pytest

from command_line import cli
from owdfa import catalog
from owdfa.methods.base import method_type
from owdfa.records.provenance import Provenance

PAGES = Path(__file__).parents[1] / "docs" / "methods"
FOUND = [name for name in catalog.names("methods") if method_type(name).reconstruction]


def test_there_are_some():
    assert FOUND == ["data", "gdanet"]


@pytest.mark.parametrize("name", catalog.names("methods"))
def test_what_the_file_names_is_what_the_method_declares(name):
    declared = getattr(catalog.load("methods", name), "CHOSEN", ())
    assert method_type(name).reconstruction == declared


@pytest.mark.parametrize("name", FOUND)
def test_file_page_and_tables_say_it_with_what_was_chosen(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")
    (row,) = (
        line
        for line in (PAGES / "README.md").read_text("utf-8").splitlines()
        if line.startswith(f"| [`{name}`]")
    )
    listed = cli("methods").stdout.splitlines()
    (line,) = (each for each in listed if each.startswith(f"{name} (reconstruction) "))
    texts = {
        "file": catalog.load("methods", name).__doc__,
        "page": (PAGES / f"{name}.md").read_text("utf-8"),
        "methods": line,
    }
    assert "reconstruction" in row
    for where, text in texts.items():
        assert "reconstruction" in text.splitlines()[0], where
        assert [each for each in method_type(name).reconstruction if each not in text] == [], where


def test_a_row_of_scores_says_it():
    made = Provenance(
        method="gdanet",
        reconstruction=True,
        backbone="tiny/trace8w16",
        seed=0,
        selection="last",
        split_digest=None,
        weights_digest=None,
        precision="32-true",
        commit="0",
        environment={},
    )
    assert made.label == "gdanet (reconstruction)"
    older = made.model_dump(exclude={"reconstruction"})
    assert Provenance.model_validate(older).label == "gdanet"
