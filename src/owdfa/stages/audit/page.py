"""The audit as one HTML page: findings, each with images side by side, and what files give away."""

from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from owdfa import pages
from owdfa.images.decode import BadImageError, decode
from owdfa.pages import NEUTRAL, Figure, palette, thumbnail
from owdfa.records.split import ROLES
from owdfa.stages.audit.findings import Audit, Finding
from owdfa.stages.audit.images import Images

_SIDE = 112  # longest side of a picture in pixels


class Picture(NamedTuple):
    """An image of a pair."""

    name: str
    class_: str
    role: str
    data: str | None  # data URI; None where the image cannot be shown


class Shown(NamedTuple):
    """A finding and its examples."""

    finding: Finding
    pairs: list[tuple[Picture, Picture, str]]


def render(audit: Audit) -> str:
    """Write the page."""
    images = audit.images
    figures = [_properties(audit)] if audit.ratings else []
    values = {
        "audit": audit,
        "shown": [_show(images, each) for each in audit.findings],
        "counts": _counts(images),
        "plots": figures,
    }
    return pages.render(__package__, "page.html", values, {"grouped": "{:,}".format})


def _counts(images: Images) -> str:
    """How many images have which role."""
    if images.split is None:
        return ""
    found = ((role, int((images.roles == place).sum())) for place, role in enumerate(ROLES))
    return ", ".join(f"{num:,} {role}" for role, num in found if num)


def _show(images: Images, finding: Finding) -> Shown:
    pairs = [
        (_picture(images, pair.one), _picture(images, pair.other), pair.note)
        for pair in finding.pairs
    ]
    return Shown(finding, pairs)


def _picture(images: Images, row: int) -> Picture:
    (values,) = images.table.slice(row, 1).to_pylist()
    return Picture(
        values["id"],
        values["class"] or "(unlabelled)",
        values.get("role") or "",
        _thumbnail(images, row, values["path"]),
    )


def _thumbnail(images: Images, row: int, path: str) -> str | None:
    """From the store where it holds the image, else from the file."""
    if images.store is not None:
        (place,) = images.store.find(images.table.slice(row, 1).select(["id", "sha256"]))
        if place >= 0:
            return thumbnail(images.store.pixels[place], _SIDE)
    try:
        return thumbnail(decode(Path(path)), _SIDE)
    except BadImageError:
        return None


def _properties(audit: Audit) -> Figure:
    """Balanced accuracy of each property, beside chance."""
    plot = go.Figure()
    ratings = audit.ratings
    labels = [
        each.properties[0] if len(each.properties) == 1 else "all of the file" for each in ratings
    ]
    series = (
        ("all classes", [each.accuracy for each in ratings], palette(2)[0]),
        ("best class against the rest", [each.best_accuracy for each in ratings], palette(2)[1]),
    )
    for name, values, colour in series:
        plot.add_bar(
            y=labels,
            x=[100 * value for value in values],
            name=name,
            orientation="h",
            marker={"color": colour},
            text=[each.best if name.startswith("best") else "" for each in ratings],
            hovertemplate="%{y}: %{x:.1f} % %{text}<extra></extra>",
        )
    for chance, name in ((ratings[0].chance, "chance"), (0.5, "chance of one against the rest")):
        plot.add_vline(
            100 * chance, line={"dash": "dot", "color": NEUTRAL}, annotation_text=name,
            annotation_position="top",
        )  # fmt: skip
    plot.update_layout(
        height=150 + 48 * len(labels),
        barmode="group",
        bargap=0.3,
        legend={"orientation": "h", "y": -0.12, "yanchor": "top"},
        margin={"t": 24},
    )
    plot.update_xaxes(range=[0, 101], title_text="balanced accuracy, %")
    plot.update_yaxes(autorange="reversed")
    return Figure(
        "properties",
        "The class, told without looking",
        "A small decision tree is given these properties of the files and no pixel, cross-validated"
        " over groups. What is far from chance is a shortcut that a network may take.",
        plot,
        wide=True,
    )
