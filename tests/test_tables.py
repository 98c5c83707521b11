"""Scores on the terminal."""

from types import SimpleNamespace

from owdfa.cli.tables import print_scores
from owdfa.records.file_properties import NAME, FileProperties
from owdfa.records.provenance import Provenance


def provenance(selection, labels, reconstruction):
    return Provenance(
        method="cal",
        backbone="tiny/trace8w16",
        seed=0,
        selection=selection,
        labels=labels,
        reconstruction=reconstruction,
        split_digest=None,
        weights_digest=None,
        precision="32-true",
        commit="b" * 40,
        environment={},
    )


def scores(num_novel, selection="last", labels="visible", *, reconstruction=False, files=None):
    one = {"acc": 0.5, "nmi": 0.25, "ari": 0.125}
    sets = {"all": one, "known": one, "novel": dict.fromkeys(one, 0.0)}
    return SimpleNamespace(
        conventions={"paper": sets, "gcd-v2": sets},
        num_images={
            "all": 4,
            "known": 4 - num_novel,
            "novel": num_novel,
            "not_predicted": 0,
            "without_truth": 0,
        },
        num_classes={"true": 3, "in_use": 4, "active": 5},
        num_novel={"true": 1, "discovered": 0},
        novel_given_to_known=0.0,
        novel_auroc=0.75 if num_novel else None,
        intervals={"level": 0.95, "num_groups": 3, "of": {"gcd-v2 all": [0.4, 0.62]}},
        calibration={"mean_confidence": 0.75, "ece": 0.25},
        split={"digest": "a" * 64, "rule": "group"},
        provenance=provenance(selection, labels, reconstruction),
        file_properties=files,
        ratios=None,
    )


def test_what_was_not_there_is_not_scored_as_zero(capsys):
    print_scores({"cal": scores(num_novel=0)})
    row = capsys.readouterr().out.splitlines()[3]
    assert row.split() == ["cal", "50.0", "50.0", "-", "50.0", "50.0", "-", "0.250", "0.125"]
    print_scores({"cal": scores(num_novel=2)})
    assert " 0.0 " in capsys.readouterr().out.splitlines()[3]


def test_what_the_files_alone_give_away_is_a_row_of_its_own(capsys):
    files = FileProperties(("format",), {"all": 0.875, "known": 1.0}, {"all": 0.25, "known": 0.5})
    print_scores({"cal": scores(num_novel=0, files=files), "cpl": scores(num_novel=0, files=files)})
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.startswith(f"{NAME}  "))
    assert row.removeprefix(NAME).split() == ["87.5", "100.0", "-", "87.5", "100.0", "-", "-", "-"]
    assert f"{NAME}: a decision tree on format, told all training labels" in out
    assert "the commonest class, is 25.0 / 50.0" in " ".join(out.split())


def test_a_split_that_does_not_know_what_its_files_give_away_says_so(capsys):
    print_scores({"cal": scores(num_novel=0)})
    assert f"{NAME}: not noted in this split" in capsys.readouterr().out


def test_the_table_says_which_types_it_counts(capsys):
    print_scores({"cal": scores(num_novel=2)})
    out = capsys.readouterr().out
    assert "types used" in out
    assert "active" in out
    assert "40-62" in out
    assert "the 3 groups of test images drawn anew" in " ".join(out.split())
    row = next(line for line in out.splitlines() if " / " in line and line.startswith("cal"))
    assert row.split()[:6] == ["cal", "4", "/", "3", "5", "0"]


def test_the_oracle_is_named_under_the_table(capsys):
    print_scores({"cal": scores(2, "oracle")})
    assert "ORACLE" in capsys.readouterr().out
    print_scores({"cal": scores(2, labels="all")})
    assert "ORACLE: hidden labels were trained on" in " ".join(capsys.readouterr().out.split())
    print_scores({"cal": scores(2)})
    assert "ORACLE" not in capsys.readouterr().out


def test_a_reconstruction_is_called_one(capsys):
    print_scores({"data": scores(2, reconstruction=True), "cal": scores(2)})
    out = capsys.readouterr().out
    assert "\ndata (reconstruction) " in out
    assert "\ndata: a reconstruction; owdfa methods lists what had to be chosen\n" in out
    assert out.count("reconstruction") == 2
