"""Plots of how the run went, epoch by epoch: of whatever the method logs, by its name."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from owdfa.pages import COLOURS, NEUTRAL, Figure
from owdfa.stages.report.log import RunLog, panels


def curves(log: RunLog, true_num_classes: int | None) -> list[Figure]:
    """Plot what the log says of each epoch; see ``panels``.

    Args:
        log: Of the run.
        true_num_classes: Number of classes of the test images; None where it is not known.
    """
    figures = [
        Figure(each.id, each.title, each.note, _lines(log.epochs, each.names))
        for each in panels(log, true_num_classes)
    ]
    for figure in figures:
        if figure.id == "active" and true_num_classes is not None:
            figure.plot.add_hline(true_num_classes, line={"dash": "dot", "color": NEUTRAL})
    return figures


def _lines(epochs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> go.Figure:
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
