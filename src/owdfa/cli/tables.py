"""Scores as a table on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from owdfa.images.bad import listing_of, read_listing

if TYPE_CHECKING:
    from owdfa.records.predictions import Predictions
    from owdfa.records.scores import Scores

_CONVENTIONS = ("gcd-v2", "paper")
_SETS: tuple[Literal["all", "known", "novel"], ...] = ("all", "known", "novel")
_SHOWN = 20  # bad images


def print_scores(scores: Mapping[str, "Scores"]) -> None:
    """Print a row for each run: accuracies under both conventions, and what they do not show.

    Args:
        scores: By the name of the row.
    """
    console = Console()
    console.print(_accuracies(scores))
    console.print(_diagnostics_table(scores))
    for basis in {_basis(score) for score in scores.values()}:
        console.print(basis, style="dim", highlight=False)


def print_types(predictions: "Predictions") -> None:
    """Print the number of images of each predicted type, most first, and their mean confidence."""
    table = Table(box=None, pad_edge=False)
    table.add_column("predicted type")
    table.add_column("images", justify="right")
    table.add_column("mean confidence", justify="right")
    given = predictions.table.group_by("prediction").aggregate(
        [("confidence", "count"), ("confidence", "mean")]
    )
    order = [("confidence_count", "descending"), ("prediction", "ascending")]
    for row in given.sort_by(order).to_pylist():
        mean = f"{row['confidence_mean']:.3f}"
        table.add_row(escape(row["prediction"]), str(row["confidence_count"]), mean)
    Console().print(table)


def print_bad(output: Path) -> None:
    """Print the images that were left out of ``output``, twenty at most."""
    lines = read_listing(output)
    for line in lines[:_SHOWN]:
        print(f"  left out: {line}")
    if len(lines) > _SHOWN:
        print(f"  ... and {len(lines) - _SHOWN} more, in {listing_of(output)}")


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
            if score.num_images[part]
            else "-"  # the convention counts nothing as 0
            for convention in _CONVENTIONS
            for part in _SETS
        ]
        whole = score.conventions["paper"]["all"]
        table.add_row(name, *cells, f"{whole['nmi']:.3f}", f"{whole['ari']:.3f}")
    return table


def _diagnostics_table(scores: Mapping[str, "Scores"]) -> Table:
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
            f"{score.novel_given_to_known:.1%}" if score.num_images["novel"] else "-",
            f"{score.calibration['mean_confidence']:.3f}",
            f"{score.calibration['ece']:.3f}",
        )
    return table


def _basis(score: "Scores") -> str:
    basis = score.basis
    stamp = "  ORACLE: test labels chose the checkpoint" if basis["selection"] == "oracle" else ""
    precision = basis.get("precision") or "32-true"  # older files lack it
    lower = "" if precision == "32-true" else f", {precision}"
    return (
        f"checkpoint {basis['selection']}, split {basis['split_digest'][:12]}, "
        f"rule {basis['rule']}, commit {basis['commit'][:12]}{lower}{stamp}"
    )
