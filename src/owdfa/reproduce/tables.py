"""What a reproduction led to, as rows of a table, Markdown and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from owdfa.compare.summary import Summary
from owdfa.compare.tables import number
from owdfa.files import write_json, write_text
from owdfa.records.provenance import commit
from owdfa.reproduce.rows import PARTS, PublishedRow
from owdfa.reproduce.verdict import RULE, Way, verdict

TABLE, JSON = "table.md", "reproduce.json"
HEADS = ("", "All", "Known", "Novel", "types")
_TITLE = "# Reproduction of "
_SCHEMA = "owdfa/reproduction/1"


class Reproduction(NamedTuple):
    """A published row beside our runs of it.

    Attributes:
        row: The published row.
        ways: Our runs: first as published, then with the last checkpoint.
        differs: What is not as published, so that the two cannot be compared.
        notes: What else the reader should know.
        failed: Reason by cell that failed.
        command: What the user typed.
    """

    row: PublishedRow
    ways: Sequence[Way]
    differs: Sequence[str]
    notes: Sequence[str]
    failed: dict[str, str]
    command: str

    @property
    def verdict(self) -> str:
        """How the runs that are as published stand to what was published."""
        return verdict(self.row, self.ways[0], self.differs)

    @property
    def remarks(self) -> list[str]:
        """Everything to say below the table, a line each."""
        row, done = self.row, sum(len(way.results) for way in self.ways)
        lines = [f"Verdict: {self.verdict}.", RULE]
        if self.differs:
            lines.append(f"Not as published: {'; '.join(self.differs)}.")
        lines += [f"Note: {line}." for line in (*row.entry.notes, *self.notes)]
        lines += [f"{folder} is missing: {reason}" for folder, reason in self.failed.items()]
        lines += [
            f"Published: {row.paper.cite}, {row.entry.table}, {row.paper.link}.",
            f"Ours: {done} runs, after ± the standard deviation over training seeds; accuracies in"
            " % by the paper's convention, and where it says so by gcd-v2.",
        ]
        return lines


def rows_of(made: Reproduction) -> list[list[str]]:
    """The table: what was published, then each of our ways, under ``HEADS``."""
    row = made.row
    told = str(row.num_classes or ("given" if row.entry.classes == "true" else "-"))
    lines = [["published", *_published(row), told]]
    for way in (each for each in made.ways if each.results):
        ours = [number(way.summary(part), f"paper {part}") for part in PARTS]
        gaps = [way.difference(row, part) for part in PARTS]
        lines.append([way.label, *ours, number(way.num_classes, "")])
        less = ["-" if gap is None else f"{gap:+.1f}" for gap in gaps]
        lines.append(["  less published", *less, _gap_of_classes(row, way)])
    for way in (each for each in made.ways if each.results):
        ours = [number(way.summary(part, "gcd-v2"), f"gcd-v2 {part}") for part in PARTS]
        lines.append([f"{way.label}, gcd-v2", *ours, ""])
    return lines


def write(made: Reproduction, output: Path) -> None:
    """Write ``table.md`` and ``reproduce.json``, each whole or not at all.

    Raises:
        UserError: Something else stands where one is to be written.
    """
    write_text(output / TABLE, _markdown(made), is_table)
    write_json(output / JSON, _plain(made))


def accuracies(row: PublishedRow) -> list[str]:
    """What was published, in %, a dash where nothing was."""
    if row.published is None:
        return ["-"] * len(PARTS)
    return [f"{value:.1f}" for value in row.published]


def _published(row: PublishedRow) -> list[str]:
    spread = [f" ± {value:.1f}" for value in row.spread or ()] or [""] * len(PARTS)
    return [mean + around for mean, around in zip(accuracies(row), spread, strict=True)]


def _gap_of_classes(row: PublishedRow, way: Way) -> str:
    found = way.num_classes
    return (
        "" if found is None or row.num_classes is None else f"{found.mean - row.num_classes:+.1f}"
    )


def _markdown(made: Reproduction) -> str:
    lines = [f"{_TITLE}{made.row.name}", "", f"Made by `{made.command}`.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADS, ["---"] * len(HEADS), *rows_of(made))]
    return "\n".join([*lines, "", *(f"* {line}" for line in made.remarks)]) + "\n"


def is_table(path: Path) -> bool:
    """Whether a file is a table of a reproduction."""
    with path.open("rb") as stream:
        return stream.read(len(_TITLE)) == _TITLE.encode()


def _plain(made: Reproduction) -> dict[str, Any]:
    row = made.row
    return {
        "schema": _SCHEMA,
        "row": row.name,
        "command": made.command,
        "commit": commit(),
        "published": {
            **row.entry.model_dump(exclude={"results", "runs", "num_classes", "spread_of"}),
            **row.paper.model_dump(),
            "protocol": row.protocol,
            "accuracy": row.published,
            "spread": row.spread,
            "num_classes": row.num_classes,
        },
        "verdict": made.verdict,
        "rule": RULE,
        "differs": list(made.differs),
        "notes": list(made.notes),
        "failed": made.failed,
        "ways": [_plain_way(row, way) for way in made.ways],
    }


def _plain_way(row: PublishedRow, way: Way) -> dict[str, Any]:
    def plain(found: Summary | None) -> dict[str, Any] | None:
        return None if found is None else found._asdict()

    return {
        "name": way.label,
        "selection": way.selection,
        "rule": way.rule,
        "accuracy": {
            convention: {part: plain(way.summary(part, convention)) for part in PARTS}
            for convention in ("paper", "gcd-v2")
        },
        "num_classes": plain(way.num_classes),
        "points_above_published": {part: way.difference(row, part) for part in PARTS},
        "runs": [
            {
                "split_seed": each.cell.split_seed,
                "seed": each.cell.seed,
                "values": {k: v for k, v in each.values.items() if v == v},  # NaN is no JSON
                "provenance": each.scores.provenance.model_dump(),
            }
            for each in way.results
        ],
    }
