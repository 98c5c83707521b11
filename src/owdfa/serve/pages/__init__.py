"""The screens: one file each, which names its address, and a template of the same name."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from owdfa.case.journal import current_user
from owdfa.stages.evidence.page import FILTERS

SCREENS = (
    ("Attribute", "/"),
    ("Discover", "/discover"),
    ("Known types", "/types"),
    ("Runs", "/runs"),
    ("Journal", "/journal"),
)
"""Title and address, in the order of the navigation."""
WHO = "owdfa-who"
"""Cookie with the name that a reviewer gave."""

TEMPLATES = Environment(
    loader=ChoiceLoader([PackageLoader("owdfa.serve"), PackageLoader("owdfa.pages", ".")]),
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
TEMPLATES.filters.update(FILTERS)
TEMPLATES.filters["basename"] = lambda path: PurePath(path).name


def show(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill in a template; one whose name begins with ``_`` is a part of a page, for htmx."""
    service = request.app.state.service
    common = {
        "path": request.url.path, "screens": SCREENS, "place": service.place, "who": who(request),
    }  # fmt: skip
    return HTMLResponse(TEMPLATES.get_template(template).render({**common, **values}), status)


def show_error(request: Request, error: Exception, status: int) -> Response:
    """What the user can fix: a line in the page, or the whole page."""
    part = "HX-Request" in request.headers
    return show(request, "_error.html" if part else "error.html", status, message=str(error))


def who(request: Request) -> str:
    """Who is at work: as they named themselves, or the user of this process."""
    from urllib.parse import unquote

    return " ".join(unquote(request.cookies.get(WHO, "")).split())[:80] or current_user()


def all_pages() -> Iterable[APIRouter]:
    """The routers of all screens."""
    from owdfa.serve.pages import (
        attribute,
        decide,
        discover,
        embedding_map,
        journal,
        rounds,
        runs,
        types,
    )  # fmt: skip

    # Fixed addresses of a screen come before those that hold an id.
    screens = (attribute, rounds, decide, embedding_map, discover, types, runs, journal)
    return [each.router for each in screens]
