"""Plots of how the run went, epoch by epoch: of whatever the method logs, by its name."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from owdfa.pages import COLOURS, NEUTRAL, Figure
from owdfa.stages.report.content import RunLog

_ACCURACIES = ("labelled_accuracy", "validation_accuracy", "oracle_all_acc")
_NO_PLOT = ("epoch", "step", "lr", "images_per_second")


def curves(log: RunLog, true_num_classes: int | None) -> list[Figure]:
    """Plot what the log says of each epoch.

    Loss terms, which are logged at every step too, share a plot, and so do accuracies; every other
    number has one of its own.

    Args:
        log: Of the run.
        true_num_classes: Number of classes of the test images; None where it is not known.
    """
    logged = _logged(log.epochs)
    terms = [name for name in logged if name in log.step_names and name not in _ACCURACIES]
    terms.sort(key="loss".__ne__)  # the first line is thick
    active_note = "Classes that the network can still assign, known ones included."
    if true_num_classes is not None:
        active_note += f" The test images are of {true_num_classes} (dotted)."
    wanted = [
        ("losses", "Losses", "The objective (thick) and its terms.", terms),
        ("active", "Prototypes active", active_note, [n for n in logged if n == "num_active"]),
        (
            "accuracy",
            "Accuracy",
            "On images whose label the run may see.",
            [name for name in _ACCURACIES if name in logged],
        ),
    ]
    named = {name for *_, names in wanted for name in names}
    for i, name in enumerate(name for name in logged if name not in named):
        title = name.replace("_", " ").capitalize()
        wanted.append((f"logged-{i}", title, "As the method logs it.", [name]))
    figures = [
        Figure(identity, title, note, _lines(log.epochs, names))
        for identity, title, note, names in wanted
        if names
    ]
    for figure in figures:
        if figure.id == "active" and true_num_classes is not None:
            figure.plot.add_hline(true_num_classes, line={"dash": "dot", "color": NEUTRAL})
    return figures


def _logged(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the numbers that epochs hold, in the order of their first appearance."""
    found: dict[str, None] = {}
    for epoch in epochs:
        numbers = (name for name, value in epoch.items() if isinstance(value, int | float))
        found |= dict.fromkeys(name for name in numbers if name not in _NO_PLOT)
    return list(found)


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
