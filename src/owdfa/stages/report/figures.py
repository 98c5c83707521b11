"""Plots of the page. Colours that follow the reader's light or dark theme are set by page.js.

Plotly reads a small markup in every label, so each name that comes from the data is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from owdfa.stages.report.content import Evidence
from owdfa.stages.report.embedding import Map

KNOWN_COLOUR, NOVEL_COLOUR = "#3f76c4", "#d9822b"
_NEUTRAL = "#8a8f98"
_LINES = ("#3f76c4", "#d9822b", "#3f9a6b", "#b5539c", "#c9a227", "#6f63c6", "#4aa3b5", "#c4554d")
_MAX_NUMBERED = 24  # columns of a confusion matrix whose cells are wide enough for a number
_MAX_NAMED = 30  # types whose names fit on the map
_NOT_TERMS = {  # numbers of an epoch that have a figure of their own, or none
    "epoch", "loss", "lr", "images_per_second", "num_live", "novel_threshold",
    "labelled_accuracy", "validation_accuracy", "oracle_all_acc",
}  # fmt: skip


class Figure(NamedTuple):
    """A plot of the page."""

    id: str
    title: str
    note: str  # what to see in it, in a sentence
    plot: go.Figure


def curves(epochs: Sequence[Mapping[str, Any]], true_num_classes: int | None) -> list[Figure]:
    """Plot what the log says of each epoch; a quantity that a method does not log has no plot."""
    if not epochs:
        return []
    terms = [
        name
        for name, value in epochs[-1].items()
        if name not in _NOT_TERMS and isinstance(value, int | float)
    ]
    accuracies = ["labelled_accuracy", "validation_accuracy", "oracle_all_acc"]
    live_note = "Classes that the network can still assign, known ones included."
    if true_num_classes is not None:
        live_note += f" The test images are of {true_num_classes} (dotted)."
    wanted = [
        ("losses", "Losses", "The objective and its terms, before weighting.", ["loss", *terms]),
        ("threshold", "Novel threshold", "Confidence that a guess at a novel type has to reach.",
         ["novel_threshold"]),
        ("live", "Live prototypes", live_note, ["num_live"]),
        ("accuracy", "Accuracy", "On images whose label the run may see.", accuracies),
    ]  # fmt: skip
    figures = []
    for identity, title, note, names in wanted:
        logged = [name for name in names if any(name in epoch for epoch in epochs)]
        if logged:
            figures.append(Figure(identity, title, note, _lines(epochs, logged)))
    for figure in figures:
        if figure.id == "live" and true_num_classes is not None:
            figure.plot.add_hline(true_num_classes, line={"dash": "dot", "color": _NEUTRAL})
    return figures


def _lines(epochs: Sequence[Mapping[str, Any]], names: list[str]) -> go.Figure:
    plot = go.Figure()
    for place, name in enumerate(names):
        plot.add_scatter(
            x=[epoch["epoch"] + 1 for epoch in epochs],
            y=[epoch.get(name) for epoch in epochs],
            name=escape(name.replace("_", " ")),
            mode="lines+markers" if len(epochs) <= 60 else "lines",
            marker={"size": 4},
            line={"width": 2.5 if place == 0 else 1.5, "color": _LINES[place % len(_LINES)]},
        )
    plot.update_layout(
        height=260,
        showlegend=len(names) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
    )
    plot.update_xaxes(title_text="epoch", rangemode="tozero")
    plot.update_yaxes(rangemode="tozero")
    return plot


class Confusion(NamedTuple):
    """Counts with the rows known first and the columns ordered by the match."""

    rows: list[str]
    columns: list[str]
    counts: np.ndarray  # (rows, columns) int
    num_known_rows: int


def order_confusion(scores: Mapping[str, Any]) -> Confusion:
    """Put known rows first, and each row's matched column under it; unmatched columns go last."""
    table = scores["confusion"]
    facts = {entry["class"]: entry for entry in scores["per_class"]}
    novel = [facts[name]["novel"] for name in table["rows"]]
    rows = sorted(range(len(novel)), key=lambda row: novel[row])
    place = {name: column for column, name in enumerate(table["columns"])}
    matched = [facts[table["rows"][row]]["matched_to"] for row in rows]
    columns = [place[name] for name in matched if name in place]
    columns += [column for column in place.values() if column not in set(columns)]
    counts = np.asarray(table["counts"], dtype=np.int64)[np.ix_(rows, columns)]
    return Confusion(
        rows=[table["rows"][row] for row in rows],
        columns=[table["columns"][column] for column in columns],
        counts=counts,
        num_known_rows=novel.count(False),
    )


def confusion_matrix(confusion: Confusion) -> Figure:
    """Plot the share of each true class that was given to each predicted type."""
    counts = confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows, columns = len(confusion.rows), len(confusion.columns)
    names = [
        [f"{escape(row)} given to {escape(column)}" for column in confusion.columns]
        for row in confusion.rows
    ]
    plot = go.Figure(
        go.Heatmap(
            z=shares,
            customdata=counts,
            text=names,
            hovertemplate="%{text}<br>%{z:.1%} · %{customdata} images<extra></extra>",
            colorscale=[[0, "rgba(63,118,196,0)"], [1, "rgba(63,118,196,1)"]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    if columns <= _MAX_NUMBERED:
        _write_shares(plot, shares)
    if 0 < confusion.num_known_rows < rows:
        plot.add_hline(confusion.num_known_rows - 0.5, line={"width": 1, "color": _NEUTRAL})
    plot.update_xaxes(
        tickvals=list(range(columns)), ticktext=_labels(confusion.columns), side="top",
        tickangle=-60, showgrid=False, zeroline=False, range=[-0.5, columns - 0.5],
    )  # fmt: skip
    plot.update_yaxes(
        tickvals=list(range(rows)), ticktext=_labels(confusion.rows),
        showgrid=False, zeroline=False, range=[rows - 0.5, -0.5],
    )  # fmt: skip
    plot.update_layout(height=150 + max(16, min(34, 900 // rows)) * rows, showlegend=False)
    note = (
        "A row is a true class, a column a type as the run predicts it; numbers are per cent of the "
        "row. Columns stand in the order of the best match, so a perfect run is a diagonal. "
        "Dark cells left of it in the lower block are new types taken for known ones."
    )
    return Figure("confusion", "Confusion matrix", note, plot)


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
    plot = go.Figure()
    types = np.unique(index)
    for order, (kind, colour) in enumerate(zip(types, palette(len(types)), strict=True)):
        usual = bool(kind >= evidence.num_known)
        for shape in (usual, not usual):
            points = np.flatnonzero((index == kind) & (novel == shape))
            if shape == usual or len(points):
                _add_points(plot, evidence, chart, points, (order, colour, shape, shape == usual))
        if len(types) <= _MAX_NAMED:
            x, y = np.median(chart.places[index == kind], axis=0)
            name = _labels([evidence.names[kind]])[0]
            plot.add_annotation(x=x, y=y, text=name, showarrow=False, font={"size": 12})
    plot.update_xaxes(visible=False)
    plot.update_yaxes(visible=False, scaleanchor="x")
    plot.update_layout(height=620, legend={"itemsizing": "constant"}, hovermode="closest")
    whose = "in truth" if evidence.judged else "as predicted"
    note = (
        f"{len(chart.rows)} of {len(evidence.ids)} images, laid out by t-SNE from the network's "
        f"embeddings: near means alike, distances between groups mean little. Colour is the "
        f"predicted type; a circle is an image of a known type {whose}, a diamond one of a new "
        f"type. Diamonds in a known type's colour are new images that it absorbed."
    )
    if not evidence.judged:
        note = note.rsplit(" Diamonds", maxsplit=1)[0]
    return Figure("map", "Map of the images", note, plot)


def _novel(evidence: Evidence) -> np.ndarray:
    if not evidence.judged:
        return evidence.index >= evidence.num_known
    known = set(evidence.split.known)
    return np.asarray([name not in known for name in evidence.truth])


def _add_points(
    plot: go.Figure,
    evidence: Evidence,
    chart: Map,
    points: np.ndarray,
    look: tuple[int, str, bool, bool],
) -> None:
    """Add one type's points of one shape; ``look`` is its order, colour, shape and legend."""
    order, colour, diamond, in_legend = look
    rows = chart.rows[points]
    hover = [
        f"{escape(evidence.ids[row])}<br>predicted {escape(evidence.names[evidence.index[row]])}, "
        f"{evidence.confidence[row]:.0%} sure" + _in_truth(evidence, row)
        for row in rows
    ]
    kind = evidence.index[rows[0]] if len(rows) else None
    plot.add_scatter(
        x=chart.places[points, 0].round(2) if len(rows) else [None],
        y=chart.places[points, 1].round(2) if len(rows) else [None],
        mode="markers",
        name=_labels([evidence.names[kind]])[0] if kind is not None else "",
        legendgroup=str(order),
        showlegend=in_legend and bool(len(rows)),
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": "diamond" if diamond else "circle",
            "size": 8 if diamond else 6,
            "color": colour,
            "opacity": 0.8,
            "line": {"width": 0.5, "color": "rgba(0,0,0,.35)"},
        },
    )


def _in_truth(evidence: Evidence, row: int) -> str:
    return f"<br>in truth {escape(str(evidence.truth[row]))}" if evidence.judged else ""


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """Plot accuracy against confidence, bin by bin."""
    bins = [entry for entry in calibration["bins"] if entry["count"]]
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
        marker={"color": KNOWN_COLOUR, "opacity": 0.75},
    )
    plot.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": _NEUTRAL}, hoverinfo="skip"
    )
    plot.update_xaxes(title_text="confidence", range=[0, 1], tickformat=".0%")
    plot.update_yaxes(title_text="accuracy", range=[0, 1.08], tickformat=".0%")
    plot.update_layout(height=320, showlegend=False)
    note = "Bars on the dotted line: as often right as it is sure. Above a bar: its images."
    return Figure("reliability", "Is its confidence earned?", note, plot)


def palette(num: int) -> list[str]:
    """Colours that are told apart on white and on black: eight chosen, then turns of the hue."""
    turned = [f"hsl({137.5 * place % 360:.0f},55%,{48 + 12 * (place % 2)}%)" for place in range(num)]
    return [*_LINES, *turned[len(_LINES) :]][:num]


def _labels(names: Sequence[str], longest: int = 22) -> list[str]:
    """Names short enough for an axis."""
    return [escape(n if len(n) <= longest else f"{n[:10]}…{n[-11:]}") for n in names]
