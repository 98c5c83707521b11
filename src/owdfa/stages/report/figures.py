"""Plots of the page. Colours that follow the reader's light or dark theme are set by page.js.

Plotly reads a small markup in every label, so each name that comes from the data is escaped.
"""

from collections.abc import Collection, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from owdfa.pages import COLOURS, NEUTRAL, Figure, palette
from owdfa.records.scores import Calibration, Scores
from owdfa.stages.report.content import Evidence
from owdfa.stages.report.embedding import Map
from owdfa.stages.report.ratios import FAR, ratio

_MAX_NUMBERED = 24  # columns of a confusion matrix whose cells are wide enough for a number
_MAX_NAMED = 30  # types whose names fit on the map
_MAX_STEPS = 201  # of a line of shares
_OUTCOMES = ("made by that type", "not made by it")


class Confusion(NamedTuple):
    """Counts with the rows known first and the columns ordered by the match."""

    rows: list[str]
    columns: list[str]
    counts: np.ndarray  # (rows, columns) int
    num_known_rows: int
    known_columns: list[bool]


def order_confusion(scores: Scores, known: Collection[str]) -> Confusion:
    """Put known rows first, and each row's matched column under it; unmatched columns go last."""
    table = scores.confusion
    facts = {entry["class"]: entry for entry in scores.per_class}
    novel = [facts[name]["novel"] for name in table["rows"]]
    rows = sorted(range(len(novel)), key=lambda row: novel[row])
    place = {name: column for column, name in enumerate(table["columns"])}
    matched = [facts[table["rows"][row]]["matched_to"] for row in rows]
    columns = list(dict.fromkeys(place[name] for name in matched if name in place))
    columns += [column for column in range(len(table["columns"])) if column not in set(columns)]
    counts = np.asarray(table["counts"], dtype=np.int64)[np.ix_(rows, columns)]
    return Confusion(
        rows=[table["rows"][row] for row in rows],
        columns=[table["columns"][column] for column in columns],
        counts=counts,
        num_known_rows=novel.count(False),
        known_columns=[table["columns"][column] in known for column in columns],
    )


def confusion_matrix(confusion: Confusion) -> Figure:
    """Plot the share of each true class that was given to each predicted type."""
    shares = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    rows, columns = shares.shape
    plot = go.Figure(_cells(confusion, shares))
    if columns <= _MAX_NUMBERED:
        _write_shares(plot, shares)
    if 0 < confusion.num_known_rows < rows:
        plot.add_hline(confusion.num_known_rows - 0.5, line={"width": 1, "color": NEUTRAL})
    known_rows = [row < confusion.num_known_rows for row in range(rows)]
    top = _by_kind(confusion.columns, confusion.known_columns)
    left = _by_kind(confusion.rows, known_rows)
    plain = {"showgrid": False, "zeroline": False, "ticks": ""}
    plot.update_xaxes(tickvals=list(range(columns)), ticktext=top, **plain)
    plot.update_yaxes(tickvals=list(range(rows)), ticktext=left, **plain)
    plot.update_xaxes(range=[-0.5, columns - 0.5], side="top", tickangle=-60)
    plot.update_yaxes(range=[rows - 0.5, -0.5])
    plot.update_layout(height=150 + max(16, min(34, 900 // rows)) * rows, showlegend=False)
    note = (
        "A row is a true class, a column a type as the run predicts it; numbers are per cent of "
        "the row. Columns stand in the order of the best match, so a perfect run is a diagonal. "
        "Known types are blue, new ones orange: what stands below the line in a blue column are "
        "new images that a known type absorbed."
    )
    return Figure("confusion", "Confusion matrix", note, plot, wide=True)


def _cells(confusion: Confusion, shares: np.ndarray) -> go.Heatmap:
    names = [
        [f"{escape(row)} given to {escape(column)}" for column in confusion.columns]
        for row in confusion.rows
    ]
    return go.Heatmap(
        z=shares,
        customdata=confusion.counts,
        text=names,
        hovertemplate="%{text}<br>%{z:.1%} · %{customdata} images<extra></extra>",
        colorscale=[[0, "rgba(63,118,196,0)"], [1, "rgba(63,118,196,1)"]],
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _write_shares(plot: go.Figure, shares: np.ndarray) -> None:
    """Write per cents into the cells: white on dark cells, the theme's colour on light ones."""
    for cells, colour in ((shares >= 0.55, "#ffffff"), ((shares >= 0.005) & (shares < 0.55), None)):
        y, x = np.nonzero(cells)
        plot.add_scatter(
            x=x,
            y=y,
            mode="text",
            text=[f"{100 * share:.0f}" for share in shares[cells]],
            textfont={"size": 11, "color": colour},
            hoverinfo="skip",
        )


def embedding_map(evidence: Evidence, chart: Map) -> Figure:
    """Plot the map: colour by predicted type, shape by whether the type is known or novel."""
    index = evidence.index[chart.rows]
    novel = _novel(evidence)[chart.rows]
    hover = np.asarray([_describe(evidence, row) for row in chart.rows], dtype=object)
    plot = go.Figure()
    types = np.unique(index)
    for number, colour in zip(types, palette(len(types)), strict=True):
        name = _labels([evidence.names[number]])[0]
        expected = bool(number >= evidence.num_known)
        _add_key(plot, name, str(number), _marker(colour, diamond=expected))
        for diamond in (False, True):
            points = (index == number) & (novel == diamond)
            plot.add_scatter(
                x=chart.places[points, 0].round(2),
                y=chart.places[points, 1].round(2),
                mode="markers",
                legendgroup=str(number),
                showlegend=False,
                text=hover[points],
                hovertemplate="%{text}<extra></extra>",
                marker=_marker(colour, diamond=diamond),
            )
        if len(types) <= _MAX_NAMED:
            x, y = densest(chart.places[index == number])
            plot.add_annotation(x=x, y=y, text=name, showarrow=False, yshift=18)
    plot.update_xaxes(visible=False)
    plot.update_yaxes(visible=False, scaleanchor="x")
    plot.update_layout(height=620, legend={"itemsizing": "constant"}, hovermode="closest")
    return Figure("map", "Map of the images", _map_note(evidence, chart), plot, wide=True)


def densest(places: np.ndarray) -> np.ndarray:
    """The one of (N, 2) points that has a quarter of the others nearest around it.

    A label there stands on the points it names, also when these form several clusters.
    """
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    reach = np.sort(distance, axis=1)[:, len(places) // 4]
    return np.asarray(places[reach.argmin()])


def _map_note(evidence: Evidence, chart: Map) -> str:
    note = (
        f"{len(chart.rows):,} of {len(evidence.ids):,} images, laid out by t-SNE from the "
        f"network's embeddings: near means alike, distances between groups mean little. "
        f"Colour is the predicted type."
    )
    if not evidence.judged:
        return f"{note} Circles are known types, diamonds new ones."
    return (
        f"{note} A circle is an image of a known type in truth, a diamond one of a new type: "
        f"diamonds in a known type's colour are new images that it absorbed."
    )


def _novel(evidence: Evidence) -> np.ndarray:
    """(N,) bool: whether an image is of a novel type, in truth where that is known."""
    if not evidence.judged:
        return evidence.index >= evidence.num_known
    known = set(evidence.split.known)
    return np.asarray([name not in known for name in evidence.truth])


def _describe(evidence: Evidence, row: int) -> str:
    predicted = evidence.names[evidence.index[row]]
    lines = [evidence.ids[row], f"predicted {predicted}, {evidence.confidence[row]:.0%} sure"]
    ratios = evidence.log_ratio()
    if ratios is not None:
        lines.append(f"likelihood ratio {ratio(ratios[row])}")
    if evidence.judged:
        lines.append(f"in truth {evidence.truth[row]}")
    return "<br>".join(escape(line) for line in lines)


def _add_key(plot: go.Figure, name: str, group: str, marker: dict[str, Any]) -> None:
    """Add a type to the legend: one entry for its circles and its diamonds."""
    plot.add_scatter(
        x=[None], y=[None], mode="markers", name=name, legendgroup=group, marker=marker
    )


def _marker(colour: str, *, diamond: bool) -> dict[str, Any]:
    return {
        "symbol": "diamond" if diamond else "circle",
        "size": 8 if diamond else 6,
        "color": colour,
        "opacity": 0.8,
        "line": {"width": 0.5, "color": "rgba(0,0,0,.35)"},
    }


def reliability(calibration: Calibration) -> Figure:
    """Plot accuracy against confidence, bin by bin."""
    bins = calibration["bins"]
    plot = go.Figure()
    plot.add_bar(
        x=[(entry["low"] + entry["high"]) / 2 for entry in bins],
        width=[entry["high"] - entry["low"] for entry in bins],
        y=[entry["accuracy"] for entry in bins],
        text=[entry["count"] for entry in bins],
        textposition="outside",
        cliponaxis=False,
        customdata=[entry["confidence"] for entry in bins],
        hovertemplate="confidence %{customdata:.1%}<br>accuracy %{y:.1%}<br>%{text} images"
        "<extra></extra>",
        marker={"color": COLOURS[0], "opacity": 0.75},
    )
    plot.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": NEUTRAL}, hoverinfo="skip"
    )
    plot.update_xaxes(title_text="confidence", range=[0, 1], dtick=0.2, tickformat=".0%")
    plot.update_yaxes(title_text="accuracy", range=[0, 1.08], dtick=0.2, tickformat=".0%")
    plot.update_layout(height=320, showlegend=False)
    note = "Bars on the dotted line: as often right as it is sure. Above a bar: its images."
    return Figure("reliability", "Is its confidence earned?", note, plot)


def tippett(evidence: Evidence) -> Figure | None:
    """Plot how many images have a likelihood ratio of so much or more; None without ratios.

    Of the known type that each image is most like, apart by whether that made it in truth.
    """
    ratios = evidence.log_ratio("known_")
    if ratios is None or not evidence.judged:
        return None
    named = np.asarray(evidence.names, dtype=object)[evidence.known_index]
    right = named == np.asarray(evidence.truth, dtype=object)
    plot = go.Figure()
    for colour, name, chosen in zip(COLOURS, _OUTCOMES, (right, ~right), strict=False):
        some = np.sort(ratios[chosen]).clip(-FAR, FAR)
        if len(some):
            at = np.unique(np.linspace(0, len(some) - 1, _MAX_STEPS).astype(int))
            plot.add_scatter(
                x=[-FAR, *some[at].round(3), FAR],
                y=[1, *(1 - at / len(some)).round(4), 0],
                line_shape="vh",
                name=f"{name} ({len(some):,})",
                mode="lines",
                line={"width": 2.5, "color": colour, "shape": "vh"},
                hovertemplate="%{y:.1%}<extra></extra>",
            )
    for place, dash in ((0, "dot"), (1, "dash")):
        plot.add_vline(place, line={"dash": dash, "width": 1, "color": NEUTRAL})
    ticks = list(range(2 - FAR, FAR, 2))
    labels = [f"1/{10**-t:,}" if t < 0 else f"{10**t:,}" for t in ticks]
    plot.update_xaxes(title_text="likelihood ratio", tickvals=ticks, ticktext=labels)
    plot.update_xaxes(range=[-FAR, FAR])
    plot.update_yaxes(title_text="images with that or more", range=[0, 1.02], tickformat=".0%")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    plot.update_layout(height=340, legend=legend)
    note = (
        "The likelihood ratio of the known type that an image is most like, against the best other "
        "explanation. Blue should stay high until far right, orange fall before 1 (dotted). Orange "
        "at 10 (dashed) is the share that strong evidence misled."
    )
    return Figure("tippett", "Is its evidence earned?", note, plot)


def _by_kind(names: Sequence[str], known: Sequence[bool]) -> list[str]:
    """Labels in the colour that page.css gives to known or to novel types."""
    return [
        f'<span style="color:var(--{"known" if is_known else "novel"})">{label}</span>'
        for label, is_known in zip(_labels(names), known, strict=True)
    ]


def _labels(names: Sequence[str], longest: int = 22) -> list[str]:
    """Names short enough for an axis."""
    return [escape(n if len(n) <= longest else f"{n[:10]}…{n[-11:]}") for n in names]
