"""Published results: a row is one method on one protocol, as its paper or release reports it.

``owdfa/published/<benchmark>.toml`` holds them, several protocols to an entry.
"""

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from owdfa import catalog
from owdfa.compare.grid import GridOptions
from owdfa.config import Settings, parse_settings
from owdfa.errors import UserError
from owdfa.records.provenance import Selection

PARTS = ("all", "known", "novel")
NO_METHOD = "published only: no such method here"
_DEFAULT_RUNS = 3  # where it is not published how many there were

Accuracies = tuple[float, float, float]
"""All, Known and Novel, in %, by the paper's convention."""


class Paper(Settings):
    """Where a result is published."""

    cite: str
    link: str


class Entry(Settings):
    """A method's row in a table of a paper, for the protocols of the benchmark."""

    method: str
    """Name of the method; one that this library has not is listed, and cannot be run."""
    base: str | None = None
    """What a plug-in wraps."""
    variant: str = ""
    """End of the row's name, where there is more than one row of the method."""
    recipe: str | None = None
    """Recipe of the method; None for its paper's."""
    settings: tuple[str, ...] = ()
    """Other settings, ``name=value``."""
    classes: Literal["true", "auto"] = "true"
    """Whether the method is told the number of classes."""
    selection: Selection = "oracle"
    """Rule that chose the checkpoint; oracle: by test labels."""
    paper: str
    """Which of ``papers``."""
    table: str
    """Which of its tables, as far as known."""
    num_runs: int | None = None
    """Number of runs that were averaged; None where that is not known."""
    seeds: tuple[int, ...] = ()
    """Of the runs, where that is known."""
    results: dict[str, Accuracies] = Field(default_factory=dict)
    """By protocol."""
    runs: dict[str, tuple[Accuracies, ...]] = Field(default_factory=dict)
    """Of each run, in place of ``results``, where that is known."""
    spread_of: str | None = None
    """Variant whose runs say how much this row's differ, where that is known."""
    num_classes: dict[str, int] = Field(default_factory=dict)
    """Estimated number of classes, by protocol."""
    notes: tuple[str, ...] = ()
    """What is not known of it, or cannot be done as published."""
    published_only: str | None = None
    """Why a row cannot be run, where that is not for want of the method."""


class Benchmark(Settings):
    """A file of published results; its name is that of the protocols' file and of the data set."""

    title: str
    split_seed: int
    """Of the split, under ``--rule paper``."""
    faces: str
    """Face detector of the release."""
    papers: dict[str, Paper]
    rows: tuple[Entry, ...]


class PublishedRow(NamedTuple):
    """One published result."""

    name: str  # cal/owdfa40-p1-known-k
    benchmark: Benchmark
    dataset: str  # owdfa40
    protocol: str  # owdfa40/p1
    entry: Entry
    published: Accuracies | None
    spread: Accuracies | None  # standard deviation of its runs
    num_classes: int | None  # estimated

    @property
    def paper(self) -> Paper:
        """Where it is published."""
        return self.benchmark.papers[self.entry.paper]

    @property
    def why_not(self) -> str | None:
        """Why it cannot be run; None where it can."""
        if self.entry.method not in catalog.names("methods"):
            return NO_METHOD
        only = self.entry.published_only
        return f"published only: {only}" if only else None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of as many trainings as were published."""
        return self.entry.seeds or tuple(range(self.entry.num_runs or _DEFAULT_RUNS))

    def text(self, selection: Selection, recipe: str | None = None) -> str:
        """The row as ``owdfa compare --methods`` takes it.

        Args:
            selection: Rule that chooses the checkpoint.
            recipe: In place of the paper's, e.g. ``"tiny"``.
        """
        entry = self.entry
        base = f"+{entry.base}" if entry.base else ""
        recipe = "-".join(filter(None, (entry.recipe, recipe)))
        named = entry.method + base + (f"@{recipe}" if recipe else "")
        return ":".join((named, f"selection={selection}", *entry.settings))

    def grid(self, source: str, selections: Sequence[Selection]) -> GridOptions:
        """The trainings as published, once for each way to choose the checkpoint."""
        return GridOptions(
            sources=(source,),
            methods=tuple(map(self.text, selections)),
            protocols=(self.protocol,),
            classes=(self.entry.classes,),
            seeds=self.seeds,
            split_seeds=(self.benchmark.split_seed,),
            rule="paper",
            recipe=None,
            faces=self.benchmark.faces,
        )


def published_rows() -> list[PublishedRow]:
    """Every published row, in order."""
    return [row for name in catalog.names("published") for row in _rows_of(name)]


def find_row(name: str) -> PublishedRow:
    """The row of a name.

    Raises:
        UserError: There is none (the nearest is named), or it cannot be run.
    """
    rows = {row.name: row for row in published_rows()}
    if name not in rows:
        longer = [each for each in rows if each.startswith(name)]
        near = longer or get_close_matches(name, rows, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"no published row named {name!r}; {hint}owdfa reproduce --list has all")
    why_not = rows[name].why_not
    if why_not is not None:
        raise UserError(f"{name}: {why_not}; owdfa reproduce --list shows its numbers")
    return rows[name]


def rows_with(words: Sequence[str]) -> list[PublishedRow]:
    """The rows whose name, benchmark or source has all of the words.

    Raises:
        UserError: There is none.
    """

    def text(row: PublishedRow) -> str:
        entry = row.entry
        return " ".join((row.name, row.benchmark.title, row.paper.cite, entry.table)).lower()

    found = [row for row in published_rows() if all(word.lower() in text(row) for word in words)]
    if not found:
        raise UserError(
            f"no published row has {' '.join(words)!r} in its name or source; owdfa reproduce"
            " --list without words shows all"
        )
    return found


def _rows_of(dataset: str) -> list[PublishedRow]:
    where = str(Path("published", f"{dataset}.toml"))
    table = tomllib.loads(catalog.text("published", dataset))
    benchmark = parse_settings(Benchmark, table, where)
    entries = {(entry.method, entry.variant): entry for entry in benchmark.rows}
    return [
        _row(
            dataset,
            benchmark,
            entry,
            protocol,
            entries[entry.method, entry.spread_of or entry.variant],
        )
        for entry in benchmark.rows
        for protocol in entry.results or entry.runs or entry.num_classes
    ]


def _row(
    dataset: str, benchmark: Benchmark, entry: Entry, protocol: str, with_runs: Entry
) -> PublishedRow:
    ending = f"-{entry.variant}" if entry.variant else ""
    own, runs = entry.runs.get(protocol), with_runs.runs.get(protocol)
    mean = _accuracies(np.mean(own, axis=0)) if own else entry.results.get(protocol)
    return PublishedRow(
        name=f"{entry.method}/{dataset}-{protocol}{ending}",
        benchmark=benchmark,
        dataset=dataset,
        protocol=f"{dataset}/{protocol}",
        entry=entry,
        published=mean,
        spread=_accuracies(np.std(runs, axis=0, ddof=1)) if runs else None,
        num_classes=entry.num_classes.get(protocol),
    )


def _accuracies(values: np.ndarray) -> Accuracies:
    all_, known, novel = map(float, values)
    return all_, known, novel
