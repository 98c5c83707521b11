"""The table of a comparison as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from owdfa.compare.grid import GIVEN, NOT_USED
from owdfa.compare.summary import (
    MEMORY,
    MINUTES,
    MORE,
    NUM_CLASSES,
    Difference,
    Result,
    RowKey,
    Summary,
    difference,
    reference_of,
    summarise,
)
from owdfa.files import holds_mark, write_text
from owdfa.metrics.intervals import LEVEL, MEASURES
from owdfa.records.file_properties import NAME as FILES
from owdfa.records.provenance import mark

ACCURACIES = MEASURES[:6]
SHARES = (*MEASURES, "AUROC", "macro")  # written in per cent
_HEADS = {
    "gcd-v2 all": "All",
    "gcd-v2 known": "Known",
    "gcd-v2 novel": "Novel",
    "paper all": "All, paper",
    "paper known": "Known, paper",
    "paper novel": "Novel, paper",
    "novel given to known": "novel given to known",
    "AUROC": "AUROC",
    "macro": "macro",
    "novel discovered": "novel types found",
    NUM_CLASSES: "types",
    MINUTES: "minutes",
    MEMORY: "GiB",
}
COLUMNS = tuple(_HEADS)
SUMMARISED = {
    "gcd-v2 all": "gcd-v2\nall",
    "gcd-v2 known": "known",
    "gcd-v2 novel": "novel",
    "novel given to known": "novel→\nknown",
    NUM_CLASSES: "types",
    MINUTES: "min",
}
PAGE = "index.html"
_TITLE, _LATEX_MARK = "# Comparison\n", "% A comparison by owdfa\n"
_PAGE_MARK = '<meta name="generator" content="owdfa compare">'
_CELL_NAMES = ("protocol", "row", "classes", "split_seed", "seed")
Rows = Mapping[RowKey, Sequence[Result]]


class Table:
    """Numbers of every row, and what they rest on.

    Args:
        rows: Finished cells by row.
        against: The row that the others are compared with.
        missing: Lines on what is not in the table.
        about: Lines on how it was made.
    """

    def __init__(
        self, rows: Rows, against: str, missing: Sequence[str], about: Sequence[str]
    ) -> None:
        self.rows, self.against = rows, against
        self.missing, self.about = missing, about

    @property
    def protocols(self) -> list[str]:
        """In order of first appearance."""
        return list(dict.fromkeys(key.protocol for key in self.rows))

    def keys_of(self, protocol: str) -> list[RowKey]:
        """The rows of a protocol."""
        return [key for key in self.rows if key.protocol == protocol]

    def summary(self, key: RowKey, measure: str) -> Summary | None:
        """A number of a row."""
        return summarise(self.rows[key], measure)

    def difference(self, key: RowKey, measure: str) -> Difference | None:
        """A row less the reference; None for the reference."""
        other = reference_of(self.rows, key, self.against)
        return None if other is None else difference(self.rows[key], self.rows[other], measure)

    def files(self, protocol: str) -> dict[str, float]:
        """What the form of the files alone gets right, by measure: the mean over splits.

        Its classes are told, so it needs no match and both conventions agree.
        """
        cells = [each for key in self.keys_of(protocol) for each in self.rows[key]]
        of_splits = {each.cell.split_seed: each.scores.file_properties for each in cells}
        kept = [found.accuracy for found in of_splits.values() if found and found.accuracy]
        means = {part: np.mean([each[part] for each in kept]) for part in (kept or [{}])[0]}
        return {m: float(means[part]) for m in ACCURACIES if (part := m.split()[1]) in means}

    def name(self, key: RowKey) -> str:
        """What a row is called; an oracle or a reconstruction says that it is one."""
        made = self.rows[key][0].scores.provenance
        return mark(key.name, made.reconstruction) + (" (oracle)" if made.is_oracle else "")


def classes_told(told: str) -> str:
    """What a row was told of the number of classes, in words."""
    return {GIVEN: "given", "auto": "its own", NOT_USED: "not used"}.get(told, told)


def number(summary: Summary | None, measure: str) -> str:
    """``80.2 ± 1.9 / 0.8``: mean, spread over training seeds, and over splits if there are some.

    An estimated number of classes has the mean ends of its intervals in brackets.
    """
    if summary is None:
        return "-"
    spreads = [each for each in (summary.over_seeds, summary.over_splits) if each is not None]
    shown = " / ".join(_plain(each, measure) for each in spreads)
    ends = summary.estimated
    between = f" ({ends.low:.0f}-{ends.high:.0f})" if ends else ""
    return _plain(summary.mean, measure) + (f" ± {shown}" if shown else "") + between


def files_cells(files: Mapping[str, float], measures: Sequence[str]) -> list[str]:
    """Cells of the row of ``Table.files``."""
    return [_plain(files[each], each) if each in files else "-" for each in measures]


def gap(found: Difference | None) -> str:
    """``-3.1 (-5.0 to -1.2)``: points, with the interval."""
    if found is None:
        return "-"
    ends = found.interval
    inside = f" ({100 * ends.low:+.1f} to {100 * ends.high:+.1f})" if ends else ""
    return f"{100 * found.mean:+.1f}{inside}"


def markdown(table: Table) -> str:
    """The whole comparison as a document."""
    lines = [_TITLE, *table.about, ""]
    for protocol in table.protocols:
        keys = table.keys_of(protocol)
        heads = ["row", "told K", *_HEADS.values(), "runs"]
        lines += [f"## {protocol}", "", _markdown_row(heads), _markdown_row(["---"] * len(heads))]
        for key in keys:
            cells = [number(table.summary(key, measure), measure) for measure in COLUMNS]
            told = classes_told(key.classes)
            runs = str(len(table.rows[key]))
            lines.append(_markdown_row([table.name(key), told, *cells, runs]))
        if files := table.files(protocol):
            lines.append(_markdown_row([FILES, "-", *files_cells(files, COLUMNS), "-"]))
        lines += ["", *_differences(table, keys)]
    lines += [f"* {line}" for line in table.missing]
    return "\n".join(lines).rstrip() + "\n"


def _differences(table: Table, keys: Sequence[RowKey]) -> list[str]:
    found = [key for key in keys if table.difference(key, "gcd-v2 all")]
    if not found:
        return []
    heads = [f"less {table.against}", "told K", "All", "Known", "Novel", "pairs"]
    lines = [_markdown_row(heads), _markdown_row(["---"] * len(heads))]
    for key in found:
        gaps = [table.difference(key, measure) for measure in ACCURACIES[:3]]
        pairs = max(each.num for each in gaps if each)
        cells = [table.name(key), classes_told(key.classes), *map(gap, gaps), str(pairs)]
        lines.append(_markdown_row(cells))
    return [*lines, ""]


def latex(table: Table) -> str:
    """Accuracies as a table for a paper, for the package booktabs."""
    heads = " & ".join(["", "$K$", *["All", "Known", "Novel"] * 2])
    lines = [_LATEX_MARK]
    for protocol in table.protocols:
        lines += [
            f"% {protocol}; mean, then deviation over training seeds",
            r"\begin{tabular}{llrrrrrr}",
            r"\toprule",
            r"& & \multicolumn{3}{c}{gcd-v2} & \multicolumn{3}{c}{paper} \\",
            rf"{heads} \\",
            r"\midrule",
        ]
        for key in table.keys_of(protocol):
            cells = [_latex_number(table.summary(key, measure)) for measure in ACCURACIES]
            named = [_latex_text(table.name(key)), _latex_text(classes_told(key.classes))]
            lines.append(" & ".join([*named, *cells]) + r" \\")
        if files := table.files(protocol):
            lines.append(" & ".join([FILES, "--", *files_cells(files, ACCURACIES)]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def cells_csv(results: Sequence[Result]) -> str:
    """Every cell with all of its numbers, for other programs."""
    measures = (*MEASURES, *MORE)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_CELL_NAMES, *measures, "oracle", "split_digest", "weights_digest"])
    for each in results:
        own = [getattr(each.cell, name) for name in _CELL_NAMES]
        values = [each.values.get(measure, "") for measure in measures]
        made = each.scores.provenance
        digests = [made.oracle, made.split_digest, made.weights_digest]
        writer.writerow([*own, *values, *digests])
    return stream.getvalue()


def about(command: str, num_groups: Sequence[int]) -> list[str]:
    """How to read the table, a line each."""
    groups = " and ".join(map(str, sorted(set(num_groups))))
    return [
        f"Made by `{command}`." if command else "Made by owdfa compare.",
        "",
        "Accuracies in per cent, under gcd-v2 (one match for all images) and, where it says so, the"
        " paper's convention; the two are not comparable.",
        f"{FILES}: a decision tree on format, size, bytes per pixel and JPEG quality, told all"
        " training labels; it sees no pixel, so what it gets right need not be traces.",
        "After ±: standard deviation over training seeds; after /: over the splits' means.",
        f"In brackets: {LEVEL:.0%} interval of paired differences, from drawing the test images'"
        f" groups ({groups}) anew.",
    ]


def write_all(table: Table, results: Sequence[Result], page: str, output: Path) -> None:
    """Write every file of the comparison, each whole or not at all.

    Raises:
        UserError: Something else stands where one is to be written.
    """
    texts = {
        "table.md": (markdown(table), _TITLE),
        "table.tex": (latex(table), _LATEX_MARK),
        "cells.csv": (cells_csv(results), ",".join(_CELL_NAMES)),
        PAGE: (page, _PAGE_MARK),
    }
    for name, (text, own) in texts.items():
        write_text(output / name, text, partial(holds_mark, mark=own.encode()))


def _plain(value: float, measure: str) -> str:
    return f"{100 * value:.1f}" if measure in SHARES else f"{value:.1f}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _latex_number(summary: Summary | None) -> str:
    if summary is None:
        return "--"
    spread = "" if summary.over_seeds is None else rf" \pm {100 * summary.over_seeds:.1f}"
    return f"${100 * summary.mean:.1f}{spread}$"


def _latex_text(text: str) -> str:
    for sign in "_%&#":
        text = text.replace(sign, f"\\{sign}")
    return text
