"""Scores as a table on the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from owdfa.images.bad import PASSED_OVER, is_note, listing_of
from owdfa.images.quiet import LEFT_ASIDE
from owdfa.listings import read_listing
from owdfa.records.file_properties import NAME as FILES
from owdfa.records.provenance import mark

if TYPE_CHECKING:
    import pyarrow as pa

    from owdfa.compare.tables import Table as Comparison
    from owdfa.records.calibration import Calibration
    from owdfa.records.file_properties import FileProperties
    from owdfa.records.scores import Scores
    from owdfa.records.stress import Share, Stress
    from owdfa.records.verdict import FileVerdict

_CONVENTIONS = ("gcd-v2", "paper")
_SETS: tuple[Literal["all", "known", "novel"], ...] = ("all", "known", "novel")
_SHOWN = 20  # bad images
_PATH = 40  # characters of a path beside a verdict
_CERTAIN = 0.999  # a probability above it is not written out: none is 1
_WIDE = 110  # columns of a comparison, or of verdicts
_NO_FILES = f"{FILES}: not noted in this split; the same owdfa split command again notes it"
_NOTES = {PASSED_OVER: "passed over", LEFT_ASIDE: f"with {LEFT_ASIDE}"}


def print_scores(scores: Mapping[str, "Scores"]) -> None:
    """Print a row for each run: accuracies under both conventions, and what they do not show.

    Args:
        scores: By the name of the row.
    """
    console = Console()
    table = _accuracies(scores)
    files = {each.split["digest"]: each.file_properties for each in scores.values()}
    for found in filter(None, files.values()):
        _add_baseline(table, found)
    console.print(table)
    console.print(_diagnostics_table(scores))
    for each in files.values():
        console.print(each.line if each else _NO_FILES, style="dim", highlight=False)
    for name, score in scores.items():
        for line in _remarks(score):
            console.print(f"{name}: {line}".removeprefix(": "), highlight=False)
    for made in (_intervals_line, _provenance_line):
        for line in {made(score) for score in scores.values()}:
            console.print(line, style="dim", highlight=False)


def print_comparison(table: "Comparison") -> None:
    """Print a comparison: accuracies of each row, with their spread over seeds and splits."""
    from owdfa.compare.tables import SUMMARISED, classes_told, files_cells, gap, number

    console = Console()
    console.width = max(console.width, _WIDE)  # a line that wraps is worse than one cut off
    for protocol in table.protocols:
        shown = Table(title=protocol, title_justify="left", box=None, pad_edge=False)
        for head in ("", "told K", *SUMMARISED.values(), "runs"):
            shown.add_column(
                head, justify="left" if head in ("", "told K") else "right", no_wrap=head == ""
            )
        for key in table.keys_of(protocol):
            cells = [number(table.summary(key, measure), measure) for measure in SUMMARISED]
            told, runs = classes_told(key.classes), str(len(table.rows[key]))
            shown.add_row(escape(table.name(key)), told, *cells, runs)
        if files := table.files(protocol):
            shown.add_row(FILES, "-", *files_cells(files, list(SUMMARISED)), "-", style="dim")
        console.print(shown)
        for key in table.keys_of(protocol):
            gaps = [(name, table.difference(key, name)) for name in list(SUMMARISED)[:3]]
            told = ", ".join(f"{name.split()[1]} {gap(found)}" for name, found in gaps if found)
            if told:
                line = f"{table.name(key)} less {table.against}: {told}"
                console.print(line, style="dim", highlight=False, markup=False)


def print_stress(record: "Stress") -> None:
    """Print a stress test: a row for each level."""
    table = Table(
        title=f"{record.num_images} test images in {record.num_groups} groups, in %, with"
        f" {record.interval:.0%} interval; corrupted: {record.applied_to}",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for head in ("corruption", "level", *_SETS, "same prediction"):
        table.add_column(head, justify="left" if head == "corruption" else "right")
    for level in record.levels:
        shares = (level.all, level.known, level.novel, level.same)
        table.add_row(level.corruption, level.label, *map(_share, shares))
    Console().print(table)


def _share(share: "Share | None") -> str:
    if share is None:
        return "-"
    ends = "" if share.low is None or share.high is None else (
        f" ({100 * share.low:.0f}-{100 * share.high:.0f})"
    )  # fmt: skip
    return f"{100 * share.value:.1f}{ends}"


def print_types(types: "pa.Table") -> None:
    """Print the number of images of each predicted type, and their mean confidence.

    Args:
        types: What ``count_types`` counted.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("predicted type")
    table.add_column("images", justify="right")
    table.add_column("mean confidence", justify="right")
    for row in types.to_pylist():
        table.add_row(escape(row["prediction"]), str(row["images"]), f"{row['confidence']:.3f}")
    Console().print(table)


_STATEMENTS = {  # what is said, and of whom it would be false
    "forged": ("accused of anything", "real"),
    "real": ("real-consistent", "forged"),
    "class": ("known:<class>", "forged"),
    "family": ("family:<family>", "forged"),
    "novel": ("novel", "known"),
}


def print_calibration(made: "Calibration") -> None:
    """Print what verdicts are worth: a row for each kind of statement."""
    console = Console()
    real = ", ".join(made.real) or "none"
    console.print(
        f"{made.num_images} held-out images in {made.num_groups} groups; real: {real}; temperature"
        f" {made.temperature:.2f}; ECE {made.ece_before:.3f}, calibrated {made.ece:.3f}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    table = Table(box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    for head in ("false of\nat most", "held-out groups\nwronged", "needs\nover", "said when\ntrue"):
        table.add_column(head, justify="right", no_wrap=True)
    for each in made.thresholds:
        said, wronged = _STATEMENTS[each.statement]
        table.add_row(
            said,
            f"{each.bound:.1%} of {wronged}",
            f"{each.num_wronged} of {each.num_groups}",
            f"{each.threshold:.3f}",
            "-" if each.recall is None else f"{each.recall:.1%}",
        )
    console.print(table)


def print_limit(made: "Calibration") -> None:
    """Print the limit of error that matters most, in a line."""
    for name, what in (("forged", "real sources accused"), ("class", "sources given a wrong type")):
        if limit := made.find(name):  # type: ignore[arg-type]  # of a tuple of literals
            print(f"at most {limit.bound:.1%} of {what}, at {limit.confidence:.0%} confidence")
            return


def print_verdicts(files: Sequence["FileVerdict"], outcomes: Mapping[str, int]) -> None:
    """Print a row a verdict, and the number of each outcome.

    Args:
        files: Those to show.
        outcomes: Number of verdicts by outcome, of all files.
    """
    table = Table(box=None, pad_edge=False)
    for head in ("file", "face", "verdict"):
        table.add_column(head, no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("likeliest class", overflow="ellipsis", no_wrap=True)
    for file in files:
        for number, verdict in enumerate(file.verdicts, start=1):
            sure = verdict.probability
            table.add_row(
                escape(_short(file.path)) if number == 1 else "",
                str(number) if verdict.box else "-",
                escape(verdict.outcome.brief),
                "-" if sure is None else f"{sure:.3f}" if sure < _CERTAIN else f">{_CERTAIN}",
                *(
                    escape(f"{each.probability:.2f} {each.name}")
                    for each in verdict.alternatives[:1]
                ),
            )
    console = Console()
    console.width = max(console.width, _WIDE)
    console.print(table)
    counts = ", ".join(f"{num} {name}" for name, num in Counter(outcomes).most_common())
    console.print(counts, highlight=False, markup=False, soft_wrap=True)


def _short(path: str) -> str:
    """The end of a path."""
    return path if len(path) <= _PATH else f"...{path[3 - _PATH :]}"


def print_bad(output: Path, listing: Path | None = None) -> None:
    """Print the images that were left out of ``output``, twenty at most, and count the rest.

    Args:
        output: What was made.
        listing: The file that lists them; None for the one beside ``output``.
    """
    listing = listing or listing_of(output)
    lines = [line for line in read_listing(listing) if not _kinds(line)]
    for line in lines[:_SHOWN]:
        print(f"  left out: {line}")
    if len(lines) > _SHOWN:
        print(f"  ... and {len(lines) - _SHOWN} more, in {listing}")
    print_notes(output, listing)


def print_notes(output: Path, listing: Path | None = None) -> None:
    """Count the files that were passed over, and the images used without their metadata."""
    listing = listing or listing_of(output)
    found = Counter(kind for line in read_listing(listing) for kind in _kinds(line))
    if found:
        counts = (f"{found[kind]} {text}" for kind, text in _NOTES.items() if found[kind])
        print(f"  {', '.join(counts)}; see {listing}")


def _kinds(line: str) -> list[str]:
    return [kind for kind in _NOTES if is_note(line, kind)][:1]


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
        row = mark(name, score.provenance.reconstruction)
        table.add_row(row, *cells, f"{whole['nmi']:.3f}", f"{whole['ari']:.3f}")
        ends = (score.intervals["of"].get(f"{c} {part}") for c in _CONVENTIONS for part in _SETS)
        table.add_row(
            "", *(f"{100 * e[0]:.0f}-{100 * e[1]:.0f}" if e else "" for e in ends), style="dim"
        )
    return table


def _add_baseline(table: Table, found: "FileProperties") -> None:
    """A row of what needs no match: its classes are all told, so the two conventions agree."""
    if found.accuracy:
        shown = found.accuracy
        cells = [f"{100 * shown[part]:.1f}" if part in shown else "-" for part in _SETS]
        table.add_row(FILES, *cells, *cells, "-", "-", style="dim")


def _diagnostics_table(scores: Mapping[str, "Scores"]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    heads = (
        "types used\n/ true",
        "active\ntypes",
        "novel types\ndiscovered",
        "novel given\nto known",
        "AUROC",
        "mean\nconf.",
        "ECE",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for name, score in scores.items():
        table.add_row(
            name,
            f"{score.num_classes['in_use']} / {score.num_classes['true']}",
            str(score.num_classes["active"]),
            f"{score.num_novel['discovered']} of {score.num_novel['true']}",
            f"{score.novel_given_to_known:.1%}" if score.num_images["novel"] else "-",
            "-" if score.novel_auroc is None else f"{score.novel_auroc:.3f}",
            f"{score.calibration['mean_confidence']:.3f}",
            f"{score.calibration['ece']:.3f}",
        )
    return table


def _remarks(score: "Scores") -> list[str]:
    """What is not in the scores, and whether it is a reconstruction."""
    counts, lines = score.num_images, _ratio_lines(score)
    if score.provenance.reconstruction:
        lines.append("a reconstruction; owdfa methods lists what had to be chosen")
    if left := counts["not_predicted"]:
        lines.append(f"{left} of {counts['all'] + left} test images have no prediction")
    if left := counts["without_truth"]:
        lines.append(f"{left} predicted images are no test images with a class, and do not count")
    return lines


def _ratio_lines(score: "Scores") -> list[str]:
    """What the likelihood ratios were worth."""
    found = score.ratios
    if found is None:
        return []
    cost = "-" if found["cllr"] is None else f"{found['cllr']:.2f}"
    misled = (
        ""
        if found["misled"] is None
        else (f", {found['misled']:.1%} of novel images misled (ratio above 10 for a known type)")
    )
    return [f"likelihood ratios of known types: Cllr {cost} bits (1 says nothing){misled}"]


def _intervals_line(score: "Scores") -> str:
    ends = score.intervals
    return (
        f"below: {ends['level']:.0%} interval, the {ends['num_groups']} groups of test images"
        " drawn anew"
    )


def _provenance_line(score: "Scores") -> str:
    made = score.provenance
    stamp = f"  ORACLE: {made.oracle}" if made.is_oracle else ""
    lower = "" if made.precision == "32-true" else f", {made.precision}"
    return (
        f"checkpoint {made.selection}, split {score.split['digest'][:12]}, "
        f"rule {score.split['rule']}, commit {made.commit[:12]}{lower}{stamp}"
    )
