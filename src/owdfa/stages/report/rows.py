"""Rows of the table of scores."""

from typing import Any, NamedTuple

from owdfa.records.scores import Scores

_SETS = ("all", "known", "novel")


class Cell(NamedTuple):
    """A number of the score table."""

    share: float | None  # None where there is no image
    ends: list[float] | None = None  # of its interval


class ScoreRow(NamedTuple):
    """A row of the score tables."""

    name: str
    oracle: bool
    scores: Scores
    groups: list[list[Cell]]  # paper ACC, gcd-v2 ACC, NMI, ARI: All, Known, Novel of each


def score_row(scores: Scores) -> ScoreRow:
    """Put the scores of a run into a row."""
    counts: Any = scores.num_images
    conventions: Any = scores.conventions
    measures = [("paper", "acc"), ("gcd-v2", "acc"), ("paper", "nmi"), ("paper", "ari")]
    ends = scores.intervals["of"]
    groups = [
        [
            Cell(
                conventions[rule][part][name] if counts[part] else None,
                ends.get(f"{rule} {part}") if name == "acc" else None,
            )
            for part in _SETS
        ]
        for rule, name in measures
    ]
    made = scores.provenance
    return ScoreRow(made.label, made.is_oracle, scores, groups)
