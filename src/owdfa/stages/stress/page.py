"""The stress test as one HTML page: curves with bands, and what becomes of each class."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from owdfa import pages
from owdfa.pages import NEUTRAL, Figure, palette
from owdfa.records.stress import Share, Stress, StressLevel

_UNCHANGED = "unchanged"
_SETS = ("all", "known", "novel")


class Line(NamedTuple):
    """A level in the table."""

    family: str  # empty below the first of a family
    label: str
    cells: list[Share | None]  # all, known, novel, same


def render(record: Stress) -> str:
    """Write the page."""
    figures = [_curves(levels) for levels in record.families().values()]
    values = {
        "record": record,
        "lines": _lines(record),
        "figures": figures,
        "classes": _classes(record),
        "weakest": weakest(record),
    }
    values["plots"] = [*figures, values["classes"]]
    return pages.render(__package__, "page.html", values, {"share": "{:.1%}".format})


def weakest(record: Stress) -> StressLevel:
    """The level at which the fewest images keep their prediction."""
    return min(record.levels, key=lambda level: level.same.value)


def _lines(record: Stress) -> list[Line]:
    lines, before = [], ""
    for level in record.levels:
        title = "" if level.corruption == before else level.title
        before = level.corruption
        lines.append(Line(title, level.label, [level.all, level.known, level.novel, level.same]))
    return lines


def _curves(levels: Sequence[StressLevel]) -> Figure:
    """Accuracy of one family of corruptions, mild to strong."""
    plot = go.Figure()
    labels = [level.label or _UNCHANGED for level in levels]
    for name, colour in zip(_SETS, palette(len(_SETS)), strict=True):
        shares = [share for level in levels if (share := getattr(level, name)) is not None]
        if not shares or (name != "all" and shares[0].num_images == levels[0].all.num_images):
            continue
        _add_line(plot, labels, shares, name, colour)
    plot.add_scatter(
        x=labels,
        y=[100 * level.same.value for level in levels],
        name="same prediction",
        mode="lines",
        line={"dash": "dot", "color": NEUTRAL, "width": 1.5},
    )
    plot.update_layout(
        height=280,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
    )
    plot.update_xaxes(type="category")
    plot.update_yaxes(range=[0, 102], title_text="%")
    return Figure(f"stress-{levels[-1].corruption}", levels[-1].title, "", plot)


def _add_line(
    plot: go.Figure, labels: list[str], shares: Sequence[Share], name: str, colour: str
) -> None:
    """A curve and its band."""
    if all(share.low is not None and share.high is not None for share in shares):
        high = [100 * (share.high or 0) for share in shares]
        low = [100 * (share.low or 0) for share in shares]
        plot.add_scatter(
            x=[*labels, *reversed(labels)],
            y=[*high, *reversed(low)],
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
            mode="lines",
        )
    plot.add_scatter(
        x=labels,
        y=[100 * share.value for share in shares],
        name=name,
        legendgroup=name,
        mode="lines+markers",
        marker={"size": 5},
        line={"color": colour, "width": 2.5 if name == "all" else 1.5},
        hovertemplate="%{y:.1f} %",
    )


def _classes(record: Stress) -> Figure:
    """Accuracy of each class at each level."""
    names = list(record.levels[0].per_class)
    heads = [_short(level) for level in record.levels]
    shares = np.array([[level.per_class[name].value for level in record.levels] for name in names])
    plot = go.Figure(
        go.Heatmap(
            z=100 * shares,
            x=heads,
            y=[escape(name) for name in names],
            zmin=0,
            zmax=100,
            colorscale="RdYlBu",
            hovertemplate="%{y}, %{x}: %{z:.1f} %<extra></extra>",
            colorbar={"title": "%", "thickness": 12},
            xgap=1,
            ygap=1,
        )
    )
    plot.update_layout(height=170 + 24 * len(names))
    plot.update_xaxes(type="category", tickangle=-60)
    plot.update_yaxes(autorange="reversed")
    note = "A cell is the share of a class's images that are right at a level; a row that turns"
    return Figure(
        "classes", "Each class", f"{note} red loses what it was recognised by.", plot, wide=True
    )


def _short(level: StressLevel) -> str:
    return f"{level.corruption} {level.label}" if level.label else _UNCHANGED
