"""Scores as a table on the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from owdfa.records.scores import Scores

_CONVENTIONS = ("gcd-v2", "paper")
_SETS = ("all", "known", "novel")


def print_scores(scores: Mapping[str, "Scores"]) -> None:
    """Print one row a run: accuracies under both conventions, and what they do not show.

    Args:
        scores: By the name of the row.
    """
    console = Console()
    console.print(_accuracies(scores))
    console.print(_doubts(scores))
    for basis in {_basis(score) for score in scores.values()}:
        console.print(basis, style="dim", highlight=False)


def _accuracies(scores: Mapping[str, "Scores"]) -> Table:
    table = Table(
        title="test images, accuracy in %", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("")
    for convention in _CONVENTIONS:
        for part in _SETS:
            table.add_column(f"{convention}\n{part}", justify="right")
    table.add_column("NMI", justify="right")
    table.add_column("ARI", justify="right")
    for name, score in scores.items():
        cells = [
            f"{100 * score.conventions[convention][part]['acc']:.1f}"
            for convention in _CONVENTIONS
            for part in _SETS
        ]
        whole = score.conventions["paper"]["all"]
        table.add_row(name, *cells, f"{whole['nmi']:.3f}", f"{whole['ari']:.3f}")
    return table


def _doubts(scores: Mapping[str, "Scores"]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    heads = (
        "types found\nof true",
        "novel types\ndiscovered",
        "novel images\ngiven to known",
        "mean\nconfidence",
        "ECE",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for name, score in scores.items():
        table.add_row(
            name,
            f"{score.num_classes['live']} of {score.num_classes['true']}",
            f"{score.num_novel['discovered']} of {score.num_novel['true']}",
            f"{score.novel_given_to_known:.1%}",
            f"{score.calibration['mean_confidence']:.3f}",
            f"{score.calibration['ece']:.3f}",
        )
    return table


def _basis(score: "Scores") -> str:
    basis = score.basis
    stamp = "  ORACLE: test labels chose the checkpoint" if basis["selection"] == "oracle" else ""
    return (
        f"checkpoint {basis['selection']}, split {basis['split_digest'][:12]}, "
        f"rule {basis['rule']}, commit {basis['commit'][:12]}{stamp}"
    )
