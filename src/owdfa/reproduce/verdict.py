"""Whether a result agrees with the published one, by a rule that is stated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from owdfa.compare.summary import NUM_CLASSES, Result, Summary, summarise
from owdfa.records.provenance import Selection
from owdfa.reproduce.rows import PARTS, PublishedRow

_LEAST = 0.5  # points: published numbers are rounded, and few runs may happen to lie close
RULE = (
    "A number agrees where it differs from the published one by at most two standard deviations:"
    " that of our runs over seeds and that of the published runs, as far as known, added in"
    f" squares; {_LEAST} points always agree."
)
_NAMES = {"all": "All", "known": "Known", "novel": "Novel"}


class Way(NamedTuple):
    """Our runs of a row with one rule for the checkpoint and one for the split."""

    name: str
    selection: Selection
    rule: str
    results: Sequence[Result]

    @property
    def label(self) -> str:
        """Its name, stamped where hidden labels trained it or chose its checkpoint."""
        oracle = any(each.scores.provenance.is_oracle for each in self.results)
        return f"{self.name} (oracle)" if oracle else self.name

    def summary(self, part: str, convention: str = "paper") -> Summary | None:
        """Accuracy on all, known or novel test images, as a share; None where there is none."""
        return summarise(self.results, f"{convention} {part}")

    @property
    def num_classes(self) -> Summary | None:
        """Number of classes that the runs tell apart."""
        return summarise(self.results, NUM_CLASSES)

    def difference(self, row: PublishedRow, part: str) -> float | None:
        """Points above the published accuracy; None where one of the two is missing."""
        found = self.summary(part)
        if found is None or row.published is None:
            return None
        return 100 * found.mean - row.published[PARTS.index(part)]


def verdict(row: PublishedRow, way: Way, differs: Sequence[str]) -> str:
    """Say in words how our runs stand to the published result; ``RULE`` is the rule.

    Args:
        row: The published row.
        way: Our runs.
        differs: What is not as published.
    """
    if not way.results:
        return "no verdict: no run of it is finished"
    if differs:
        return "not comparable: settings or data differ"
    limits = {part: limit(row, way, part) for part in PARTS}
    if None in limits.values():
        return (
            "no verdict: one run, and how much the published runs differ is not known; run more"
            " seeds, e.g. --seeds 0..2"
        )
    said: dict[str, list[str]] = {}
    for part, most in limits.items():
        found = way.difference(row, part)
        if found is None or most is None:
            continue
        word = "agrees" if abs(found) <= most else "better" if found > 0 else "worse"
        said.setdefault(word, []).append(f"{_NAMES[part]} {found:+.1f}")
    if list(said) == ["agrees"]:
        return f"agrees ({', '.join(said['agrees'])})"
    return "; ".join(f"{word}: {', '.join(parts)}" for word, parts in said.items())


def limit(row: PublishedRow, way: Way, part: str) -> float | None:
    """The difference in points up to which a number agrees; None where no spread is known."""
    found = way.summary(part)
    ours = None if found is None or found.over_seeds is None else 100 * found.over_seeds
    theirs = None if row.spread is None else row.spread[PARTS.index(part)]
    known = [each for each in (ours, theirs) if each is not None]
    return max(_LEAST, 2 * float(np.hypot.reduce(known))) if known else None
