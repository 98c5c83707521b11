"""Write RESULTS.md and its plot from what the benchmarks measured (``benchmarks/results``)."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.harness import HEAD, RESULTS

PAGE = Path(__file__).with_name("RESULTS.md")
PLOT = Path(__file__).with_name("cost.svg")
ORDER = (
    *("delivery", "first_pass", "scan", "ffe", "step", "epoch_end", "score", "predict", "start"),
    *("processes", "memory", "growth", "gpu"),
)
_TITLE = 44  # characters a line
OPENING = """# What things cost

Written by `make bench` (`python -m benchmarks --render` writes it again without measuring); do not edit.

Each row sets our way beside a plain one, in turn, in one run: *plain* is `benchmarks/baseline/`, what the published releases do, written straight from the papers: every image
decoded and searched for its face at each read, transforms one image at a time, a DCT by FFT, float32 in the default memory format, `.item()` for every statistic, all logits of an epoch
kept, metrics by a loop over samples. Numbers are medians; the ratio is the median of the ratios within the pairs, with its range. The last column is the least time that the machine
allows (bytes over the bandwidth of a copy, operations over the rate of a matrix product or a convolution, both measured in the same run), and which share of that speed is reached.
Machines of others differ, and this one was shared: trust ratios more than times.

![cost against size](cost.svg)
"""  # noqa: E501


def render(folder: Path = RESULTS, page: Path = PAGE, plot: Path = PLOT) -> list[Path]:
    """Write page and plot; return what was written."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    names = [*(name for name in ORDER if name in found), *(n for n in found if n not in ORDER)]
    parts = [OPENING, *(_section(found[name]) for name in names)]
    page.write_text("\n".join(parts))
    _draw([found[name] for name in names], plot)
    return [page, plot]


def _section(result: Mapping[str, Any]) -> str:
    lines = [f"## {result['title']}", "", f"`{result['command']}`, {result['date']}."]
    lines += [f"{result['machine']}.", ""]
    if result["comparisons"]:
        lines += [*_table(HEAD, [each["cells"] for each in result["comparisons"]]), ""]
    for table in result["tables"]:
        lines += [f"{table['title']}:", "", *_table(table["head"], table["rows"]), ""]
    lines += [f"* {note}" for note in result["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel for each module and size that has several rows: plain and ours against the size."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "owdfa", "font.size": 9})  # the same bytes each time
    panels = [panel for result in results for panel in _panels(result)]
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for place, (title, size, unit, curves) in zip(axes.flat, panels, strict=False):
        for (label, points), colour in zip(curves.items(), ("#a33", "#256", "#999"), strict=False):
            place.plot(*zip(*points, strict=True), "o-", label=label, color=colour)
        place.set(title=title, xlabel=size, ylabel=unit, xscale="log", yscale="log")
        sizes = sorted({x for points in curves.values() for x, _ in points})
        place.set_xticks(sizes, [f"{x:,.0f}" for x in sizes])
        place.minorticks_off()
        place.grid(visible=True, which="both", color="#eee")
    for place in list(axes.flat)[len(panels) :]:
        place.axis("off")
    drawn = {line.get_label(): line for place in axes.flat for line in place.get_lines()}
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper right", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


Panel = tuple[str, str, str, dict[str, list[tuple[float, float]]]]


def _panels(result: Mapping[str, Any]) -> Iterator[Panel]:
    """Title, size, unit and curves; rows belong together by unit and the name of their size."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in result["comparisons"]:
        for size in row["at"]:
            groups.setdefault((size, row["unit"]), []).append(row)
    for (size, unit), rows in groups.items():
        if len({row["at"][size] for row in rows}) < 2:
            continue
        rows = sorted(rows, key=lambda row: row["at"][size])
        curves = {
            label: [(row["at"][size], statistics.median(row[key])) for row in rows]
            for label, key in (("plain", "baseline"), ("ours", "ours"))
        }
        limits = [(row["at"][size], row["limit"]) for row in rows if row["limit"]]
        if len(limits) == len(rows):
            curves["limit"] = limits
        title = result["title"].partition(":")[0].partition(",")[0]
        yield fill(title, _TITLE), size, unit, curves


if __name__ == "__main__":
    render()
