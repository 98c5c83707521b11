"""Plots of how the run went, epoch by epoch."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from owdfa.stages.report.figures import COLOURS, NEUTRAL, Figure

_NOT_TERMS = {  # numbers of an epoch that have a figure of their own, or none
    "epoch", "loss", "lr", "images_per_second", "num_active", "novel_threshold",
    "labelled_accuracy", "validation_accuracy", "oracle_all_acc",
}  # fmt: skip


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
        ("losses", "Losses", "The objective (thick) and its terms.", ["loss", *terms]),
        ("threshold", "Novel threshold", "Confidence that a guess at a novel type has to reach.",
         ["novel_threshold"]),
        ("live", "Live prototypes", live_note, ["num_active"]),
        ("accuracy", "Accuracy", "On images whose label the run may see.", accuracies),
    ]  # fmt: skip
    figures = []
    for identity, title, note, names in wanted:
        logged = [name for name in names if any(name in epoch for epoch in epochs)]
        if logged:
            figures.append(Figure(identity, title, note, _lines(epochs, logged)))
    for figure in figures:
        if figure.id == "live" and true_num_classes is not None:
            figure.plot.add_hline(true_num_classes, line={"dash": "dot", "color": NEUTRAL})
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
            line={"width": 2.5 if place == 0 else 1.5, "color": COLOURS[place % len(COLOURS)]},
        )
    plot.update_layout(
        height=260,
        showlegend=len(names) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
    )
    plot.update_xaxes(title_text="epoch", dtick=1 if len(epochs) <= 12 else None)
    plot.update_yaxes(rangemode="tozero")
    return plot
