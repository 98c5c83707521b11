"""What an audit finds."""

from dataclasses import dataclass
from typing import NamedTuple

from owdfa.checks.shortcuts import Rating
from owdfa.stages.audit.images import Images

MAX_PAIRS = 12  # examples of a finding


class Pair(NamedTuple):
    """Two images to be seen side by side: rows of the images, and what to see in them."""

    one: int
    other: int
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that the user should know.

    Attributes:
        kind: Of what sort, in a word or two: the first of the line.
        line: What it is, how much of it, and what helps.
        is_leak: Whether a score on the test images is worthless for it.
        pairs: Some examples.
    """

    kind: str
    line: str
    is_leak: bool = False
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        images: What was looked at.
        findings: Leaks first.
        ratings: How well properties of the files tell the classes apart.
        notes: What was not looked at, and why.
    """

    images: Images
    findings: tuple[Finding, ...]
    ratings: tuple[Rating, ...]
    notes: tuple[str, ...]

    @property
    def num_leaks(self) -> int:
        """Number of findings that are leaks."""
        return sum(each.is_leak for each in self.findings)
