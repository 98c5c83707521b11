"""The screen at ``/discover``: groups as cards, one group, two side by side, and what is alone."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from owdfa.case.lines import GROUPS
from owdfa.case.review import describe, statistics
from owdfa.serve import groups
from owdfa.serve.groups import PAGE, Order, Show, Sort
from owdfa.serve.pages import group_views as views
from owdfa.serve.pages import show as fill
from owdfa.serve.pages.group_views import View, members_of, place_of
from owdfa.serve.place import Place
from owdfa.stages.review import Reviewer

router = APIRouter()


@router.get("/discover")
def page(request: Request, show: Show = "all", sort: Sort = "todo") -> HTMLResponse:
    """All groups."""
    return _whole(request, views.cards_view(place_of(request), show, sort))


@router.get("/discover/compare")
def compare_page(request: Request, a: str, b: str) -> HTMLResponse:
    """Two groups side by side."""
    return _whole(request, views.compare_view(place_of(request), a, b))


@router.get("/discover/map")
def map_page(request: Request) -> HTMLResponse:
    """The embedding map."""
    return _whole(request, views.map_view(place_of(request)))


@router.get("/discover/since")
def since(request: Request, head: str) -> Response:
    """What was done to groups since a page was made: nothing, or a line that offers to look."""
    entries = place_of(request).case().entries
    seen = next((n for n, each in enumerate(entries) if each.hash == head), None)
    if seen is None:
        return Response(status_code=204)
    later = [each for each in entries[seen + 1 :] if each.what in GROUPS]
    if not later:
        return Response(status_code=204)
    told = [(each.who, describe(each), each.time) for each in later]
    return fill(request, "_group_since.html", told=told)


@router.get("/discover/{id_}")
def group_page(request: Request, id_: str, order: Order = "typical") -> HTMLResponse:
    """One group."""
    return _whole(request, views.group_view(place_of(request), id_, order))


@router.get("/discover/{id_}/halves")
def halves(request: Request, id_: str) -> HTMLResponse:
    """The two halves that a group would be split into."""
    place = place_of(request)
    half = frozenset(Reviewer(place.case()).half(id_))
    rest = place.review().state.find(id_).members - half
    named = (("Stays", rest), ("Goes", half))
    shown = [(t, len(x), groups.ordered(place, x, "typical")[: views.SHOWN]) for t, x in named]
    values = views.common(request, View("", "", {"halves": shown, "id": id_}))
    values["at"] = f"/discover/{id_}"
    return fill(request, "_group_halves.html", **values)


@router.get("/discover/{id_}/images")
def images(
    request: Request, id_: str, page: Annotated[int, Query(ge=0)], order: Order = "typical"
) -> HTMLResponse:
    """Some images of a group."""
    place = place_of(request)
    chosen = members_of(place, id_, order)[page * PAGE : (page + 1) * PAGE]
    return fill(request, "_group_images.html", images=chosen, **_about(place, id_))


@router.get("/discover/{id_}/order")
def order_of(request: Request, id_: str, order: Order = "typical") -> JSONResponse:
    """SHA-256 of all images of a group, in the order in which they are shown."""
    return JSONResponse(members_of(place_of(request), id_, order))


def _whole(request: Request, view: View) -> HTMLResponse:
    """The page with a view."""
    values = views.common(request, view)
    return fill(request, "discover.html", view.status, **values)


def _about(place: Place, id_: str) -> dict[str, Any]:
    """What is known of the images of a group."""
    review = place.review()
    measured = statistics(review).get(id_)
    marks = {} if measured is None else dict.fromkeys(measured.borderline, "borderline")
    marks |= {} if measured is None else dict.fromkeys(measured.central, "central")
    return {"items": place.items(), "marks": marks}
