"""What HTML pages have in common: one file each, readable offline, no script but ours runs.

Names of classes and files are hostile input: a template escapes all that it is given, the data of
plots cannot close their element, and the page's policy runs only the scripts that were put into it
and loads nothing from anywhere.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

_NO_SCRIPT = "'none'"
NEUTRAL = "#8a8f98"
COLOURS = ("#3f76c4", "#d9822b", "#3f9a6b", "#b5539c", "#c9a227", "#6f63c6", "#4aa3b5", "#c4554d")


class Figure(NamedTuple):
    """A plot of a page; colours that follow the reader's theme are set by page.js."""

    id: str
    title: str
    note: str  # what to see in it, in a sentence
    plot: Any  # a plotly figure
    wide: bool = False


def render(
    package: str,
    template: str,
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., str]],
) -> str:
    """Fill in a template that extends ``base.html``.

    Args:
        package: Where the template is.
        template: Its file.
        values: What it shows; ``plots`` are the figures whose data the page holds. A page without
            any holds no script.
        filters: Of the template, by name.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader(__package__, ".")]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(filters)
    environment.filters["plot_json"] = lambda plot: embedded_json(plot.to_json())
    scripts = [get_plotlyjs(), _asset("page.js")] if values["plots"] else []
    page: str = environment.get_template(template).render(
        values,
        policy=_policy(scripts),
        style=Markup(_asset("page.css")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
    )
    return page


def thumbnail(pixels: np.ndarray, size: int) -> str:
    """Shrink an image (H, W, 3) uint8 to ``size`` pixels, and put it into a data URI as JPEG."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"


def palette(num: int) -> list[str]:
    """Colours that are told apart on white and on black: eight chosen, then turns of the hue."""
    turned = [f"hsl({137.5 * i % 360:.0f},55%,{48 + 12 * (i % 2)}%)" for i in range(num)]
    return [*COLOURS, *turned[len(COLOURS) :]][:num]


def _policy(scripts: Sequence[str]) -> str:
    """Content-Security-Policy: these scripts, styles, pictures inside the file, nothing else."""
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {allowed or _NO_SCRIPT}"
    )


def embedded_json(text: str) -> Markup:
    """JSON that cannot leave its script element, whatever names are in it."""
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
