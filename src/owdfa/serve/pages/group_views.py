"""The views of groups at ``/discover``: what their templates are given.

Each is a template ``_group_*.html``: an element ``#view`` that ``discover.html`` holds, and that
the answer to a decision (``decide.py``) holds anew.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from owdfa.case.lines import PROMOTED
from owdfa.case.review import describe
from owdfa.errors import UserError
from owdfa.serve import groups
from owdfa.serve.groups import NONE, PAGE, Card, Order, Show, Sort
from owdfa.serve.media import service_of
from owdfa.serve.pages import TEMPLATES
from owdfa.serve.place import Place

_MOST = 400  # groups that a list offers
SHOWN = 12  # images of each side of a comparison
_Word = TypeVar("_Word", bound=str)


class View(NamedTuple):
    """What is shown."""

    template: str
    title: str
    values: dict[str, Any]
    status: int = 200


def place_of(request: Request) -> Place:
    """The case of the application that a request came to."""
    return service_of(request).place


def common(request: Request, view: View) -> dict[str, Any]:
    """What the templates of all views are given."""
    place = place_of(request)
    review, items = place.review(), place.items()
    case, jobs = place.case() if place.begun else None, service_of(request).jobs(20)
    return {
        "part": view.template,
        "title": view.title,
        "review": review,
        "head": case.head if case else "",
        "items": items,
        "num_alone": len(groups.ungrouped(place)) if review.clusters else 0,
        "undo": describe(review.done[-1].entry) if review.done else None,
        "redo": describe(review.undone[-1].entry) if review.undone else None,
        "working": {job.kind: job for job in jobs if not job.ended},
        "rescanned": next((job for job in jobs if job.kind == "rescan" and job.ended), None),
        "at": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        **view.values,
    }


def view_at(place: Place, address: str) -> View:
    """The view at an address of this screen; all groups for any other."""
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    name = parts.path.removeprefix("/discover").removeprefix("/")
    if name == "map":
        return map_view(place)
    if name == "compare":
        return compare_view(place, query.get("a", ""), query.get("b", ""))
    if name:
        return group_view(place, name, _word(query.get("order"), groups.ORDERS))
    chosen = _word(query.get("show"), groups.SHOWS), _word(query.get("sort"), groups.SORTS)
    return cards_view(place, *chosen)


def cards_view(place: Place, show: Show, sort: Sort) -> View:
    """All groups; or, where there are none, how to find some."""
    review = place.review()
    if review.clusters is None:
        wanted = sum(groups.is_unnamed(item) for item in place.items().values())
        return View("_group_start.html", "Discover", {"num_wanted": wanted})
    everything = groups.in_order(groups.deck(review).values(), sort)
    counts = Counter(each.state for each in everything)
    counts["all"] = len(everything)
    values = {
        "cards": [each for each in everything if show in ("all", each.state)],
        "counts": counts, "show": show, "sort": sort,
        **_naming(place, everything), **_promotion(place, everything),
        "others": _by_other_runs(place), "served": place.run,
    }  # fmt: skip
    return View("_group_cards.html", "Discover", values)


def _by_other_runs(place: Place) -> int:
    """Files whose verdict is not by the run that is served; 0 where none is."""
    if place.run is None:
        return 0
    served, counts = (
        place.run.resolve(),
        Counter(item.verdict.attribution for item in place.items().values()),
    )
    runs = {digest: run for digest, (_, run) in place.case().attributions().items()}
    return sum(num for digest, num in counts.items() if runs[digest].resolve() != served)


def group_view(place: Place, id_: str, order: Order) -> View:
    """One group, or the images that are in none."""
    review = place.review()
    deck = groups.deck(review)
    if id_ == NONE:
        return View("_group_alone.html", "In no group", _grid(place, id_, order, deck))
    found = deck.get(id_)
    if found is None:
        went = review.state.gone.get(id_, ())
        gone = {"id": id_, "went": [deck[each] for each in went if each in deck]}
        return View("_group_gone.html", "No such group", gone, 404)
    row = [each.group.id for each in groups.in_order(deck.values())]
    number = row.index(id_)
    near = groups.nearest_groups(place, found.group)
    values: dict[str, Any] = {
        **_grid(place, id_, order, deck),
        "card": found,
        "before": row[number - 1] if number else None,
        "after": row[number + 1] if number + 1 < len(row) else None,
        "number": number + 1,
        "num_groups": len(row),
        "near": [(deck[other], far) for other, far in near[:_MOST]],
        **_naming(place, deck.values()),
    }
    return View("_group.html", found.title, values)


def _grid(place: Place, id_: str, order: Order, deck: Mapping[str, Card]) -> dict[str, Any]:
    """What the grid of the images of a group is given."""
    members = members_of(place, id_, order)
    return {
        "id": id_,
        "order": order,
        "num_images": len(members),
        "page_size": PAGE,
        "pages": range(-(-len(members) // PAGE)),
        "digest": _digest(members),
        "targets": _targets(deck),
    }


def _targets(deck: Mapping[str, Card]) -> list[Card]:
    """Groups that images may be moved to."""
    return groups.in_order(deck.values(), "name")[:_MOST]


def compare_view(place: Place, a: str, b: str) -> View:
    """Two groups side by side."""
    review = place.review()
    deck = groups.deck(review)
    sides = [deck[review.state.find(each).id] for each in (a, b)]
    if sides[0] is sides[1]:
        raise UserError(f"{a}: is one group; choose two")
    traits: dict[tuple[str, str], list[float | None]] = {}
    for number, side in enumerate(sides):
        for each in side.measured.traits if side.measured else ():
            traits.setdefault((each.what, each.value), [None, None])[number] = each.share
    found = groups.compare(place, sides[0].group, sides[1].group)
    best = max(sides, key=lambda each: (bool(each.group.name), each.size))
    values = {
        "sides": sides,
        "found": found,
        "keep": best.group.id if found and found.alike else None,
        "images": [groups.ordered(place, each.group.members, "typical")[:SHOWN] for each in sides],
        "traits": traits,
    }
    return View("_group_compare.html", f"{sides[0].title} and {sides[1].title}", values)


def map_view(place: Place) -> View:
    """The embedding map, and what is chosen on it."""
    return View("_group_map.html", "Map", {"targets": _targets(groups.deck(place.review()))})


def _word(given: str | None, words: tuple[_Word, ...]) -> _Word:
    """The word that was given; the first where it is none of them."""
    return next((each for each in words if each == given), words[0])


def _digest(images: tuple[str, ...]) -> str:
    """A short name for images in an order, for the ids of a page's parts."""
    return hashlib.sha256("".join(images).encode()).hexdigest()[:12]


def _clock(time: str) -> str:
    """A time of the journal for a reader."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC"


TEMPLATES.filters |= {"clock": _clock, "basename": lambda path: PurePath(path).name}


def members_of(place: Place, id_: str, order: Order) -> tuple[str, ...]:
    """The images of a group, or those in none, in order; none where there is no such group."""
    review = place.review()
    if id_ == NONE:
        return groups.ungrouped(place)
    group = review.state.groups.get(id_)
    return groups.ordered(place, group.members, order) if group else ()


def _naming(place: Place, cards: Iterable[Card]) -> dict[str, Any]:
    """Names that there are: of groups, and of known types."""
    named = [each for each in groups.in_order(cards, "name") if each.group.name]
    return {
        "known_types": groups.known_types(place.case().entries),
        "names": {each.group.id: each for each in named},
    }


def _promotion(place: Place, cards: Iterable[Card]) -> dict[str, Any]:
    """What is named, and what was promoted last."""
    last = next((e for e in reversed(place.case().entries) if e.what == PROMOTED), None)
    return {
        "promotable": [each for each in groups.in_order(cards, "size") if each.state == "named"],
        "promoted": last,
        "commands": last.data.get("next", []) if last else [],
    }
