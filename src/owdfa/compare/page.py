"""The comparison as one HTML page: tables, every cell as a point, differences with intervals."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from owdfa import pages
from owdfa.compare.grid import NOT_USED
from owdfa.compare.summary import MINUTES, RowKey
from owdfa.compare.tables import (
    ACCURACIES,
    COLUMNS,
    Table,
    classes_told,
    files_cells,
    gap,
    number,
)
from owdfa.pages import NEUTRAL, Figure, palette
from owdfa.records.file_properties import NAME as FILES

_SHOWN = ACCURACIES[:3]  # gcd-v2, which sees absorbed images
_HEADS = ("gcd-v2 all", "known", "novel", "paper all", "known", "novel")
_MORE_HEADS = (
    "Novel given to known",
    "AUROC",
    "Macro",
    "Novel types found",
    "Types",
    "Minutes",
    "GiB",
)


class Line(NamedTuple):
    """A row of the page's tables."""

    name: str
    told: str
    numbers: list[str]
    gaps: list[str]  # less the reference; empty for that itself
    num_runs: int | str
    oracle: bool


class Part(NamedTuple):
    """A protocol."""

    name: str
    lines: list[Line]
    figures: list[Figure]


def render(table: Table) -> str:
    """Write the page."""
    parts = [_part(table, protocol, i) for i, protocol in enumerate(table.protocols)]
    values = {
        "parts": parts,
        "about": [line for line in table.about if line],
        "missing": table.missing,
        "against": table.against,
        "heads": _HEADS,
        "more_heads": _MORE_HEADS,
        "plots": [figure for part in parts for figure in part.figures],
    }
    return pages.render(__package__, "page.html", values, {})


def _part(table: Table, protocol: str, place: int) -> Part:
    keys = table.keys_of(protocol)
    lines = []
    for key in keys:
        gaps = [table.difference(key, measure) for measure in _SHOWN]
        lines.append(
            Line(
                key.name,
                classes_told(key.classes),
                [number(table.summary(key, measure), measure) for measure in COLUMNS],
                [gap(each) for each in gaps] if any(gaps) else [],
                len(table.rows[key]),
                table.name(key) != key.name,
            )
        )
    if files := table.files(protocol):
        lines.append(Line(FILES, "-", files_cells(files, COLUMNS), [], "-", False))
    figures = [_points(table, keys, f"points-{place}")]
    if any(line.gaps for line in lines):
        figures.append(_gaps(table, keys, f"gaps-{place}"))
    if any(table.summary(key, MINUTES) for key in keys):
        figures.append(_cost(table, keys, f"cost-{place}"))
    return Part(protocol, lines, figures)


def _points(table: Table, keys: Sequence[RowKey], id_: str) -> Figure:
    plot = go.Figure()
    labels = _labels(table, keys)
    for measure, colour in zip(_SHOWN, palette(len(_SHOWN)), strict=True):
        values = [
            (label, 100 * each.values[measure], each.cell)
            for key, label in zip(keys, labels, strict=True)
            for each in table.rows[key]
            if measure in each.values
        ]
        plot.add_scatter(
            x=[value for _, value, _ in values],
            y=[label for label, _, _ in values],
            mode="markers",
            name=measure.split()[1],
            marker={"color": colour, "size": 8, "opacity": 0.7},
            text=[f"split {cell.split_seed}, seed {cell.seed}" for _, _, cell in values],
            hovertemplate="%{y} %{x:.1f} %<br>%{text}<extra></extra>",
        )
    return Figure(
        id_,
        "Every training",
        "A point is one training: its accuracy by gcd-v2, in per cent.",
        _by_name(plot, labels, "accuracy, %"),
    )


def _gaps(table: Table, keys: Sequence[RowKey], id_: str) -> Figure:
    plot = go.Figure()
    kept = [key for key in keys if table.difference(key, _SHOWN[0])]
    labels = _labels(table, kept)
    for measure, colour in zip(_SHOWN, palette(len(_SHOWN)), strict=True):
        found = [table.difference(key, measure) for key in kept]
        means = [100 * each.mean if each else None for each in found]
        ends = [each.interval if each else None for each in found]
        high = [100 * (e.high - d.mean) if e and d else 0 for e, d in zip(ends, found, strict=True)]
        low = [100 * (d.mean - e.low) if e and d else 0 for e, d in zip(ends, found, strict=True)]
        plot.add_scatter(
            x=means,
            y=labels,
            mode="markers",
            name=measure.split()[1],
            marker={"color": colour, "size": 9},
            error_x={"type": "data", "array": high, "arrayminus": low, "thickness": 1.2},
            hovertemplate="%{y} %{x:+.1f} points<extra></extra>",
        )
    plot.add_vline(0, line={"dash": "dot", "color": NEUTRAL})
    return Figure(
        id_,
        f"Less {table.against}",
        "Points of gcd-v2 accuracy, in pairs of equal seeds; bars: 95 % intervals over groups of"
        " test images.",
        _by_name(plot, labels, "points"),
    )


def _cost(table: Table, keys: Sequence[RowKey], id_: str) -> Figure:
    plot = go.Figure()
    found: list[Any] = [
        (label, table.summary(key, MINUTES), table.summary(key, _SHOWN[0]))
        for key, label in zip(keys, _labels(table, keys), strict=True)
    ]
    found = [each for each in found if each[1] and each[2]]
    plot.add_scatter(
        x=[minutes.mean for _, minutes, _ in found],
        y=[100 * accuracy.mean for _, _, accuracy in found],
        text=[label for label, _, _ in found],
        mode="markers+text",
        textposition="top center",
        marker={"size": 9, "color": palette(1)[0]},
        hovertemplate="%{text}<br>%{x:.1f} min, %{y:.1f} %<extra></extra>",
    )
    plot.update_xaxes(title_text="minutes, training and test", rangemode="tozero")
    plot.update_yaxes(title_text="all images, gcd-v2, %")
    plot.update_layout(height=380, showlegend=False)
    return Figure(id_, "What it costs", "Upper left is better.", plot)


def _by_name(plot: go.Figure, labels: Sequence[str], title: str) -> go.Figure:
    plot.update_xaxes(title_text=title)
    plot.update_yaxes(categoryorder="array", categoryarray=list(reversed(labels)))
    plot.update_layout(
        height=130 + 34 * len(labels), legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"}
    )
    return plot


def _labels(table: Table, keys: Sequence[RowKey]) -> list[str]:
    """Names of rows, with what they were told where that tells two apart."""
    several = len({key.classes for key in keys} - {NOT_USED}) > 1
    return [
        escape(table.name(key) + (f", K {classes_told(key.classes)}" if several else ""))
        for key in keys
    ]
