"""What the embedding map at ``/discover/map`` is drawn from."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from owdfa.case import Item
from owdfa.errors import UserError
from owdfa.serve import groups
from owdfa.serve.layout import Layout, lay_out
from owdfa.serve.pages.group_views import place_of
from owdfa.serve.place import Place
from owdfa.stages.discover.describing import main_verdict

router = APIRouter()
_ELSEWHERE = "other"
_MOST = 200  # categories of a kind; rarer ones count as one


@router.get("/discover/map/points")
def points(request: Request) -> Response:
    """Places of N images: x and y of each in float32, then the 32 bytes of each SHA-256."""
    found = _layout(place_of(request))
    data = found.places.astype("<f4").tobytes() + bytes.fromhex("".join(found.images))
    return Response(data, media_type="application/octet-stream")


@router.get("/discover/map/about")
def about(request: Request) -> JSONResponse:
    """What is known of each image, in the same order: its file, and its category of each kind.

    A category is an index into ``names``; -1 is none. ``known`` is 1 of an image of a known type
    that is in no group.
    """
    place = place_of(request)
    found, items, review = _layout(place), place.items(), place.review()
    of = {image: group.id for group in review.state.groups.values() for image in group.members}
    colour = groups.colours(review)
    ids = list(review.state.groups)
    number = {id_: index for index, id_ in enumerate(ids)}
    there = [items[image] for image in found.images]
    kinds = {
        "group": {
            "ids": ids,
            "names": [review.state.groups[id_].name or id_ for id_ in ids],
            "colours": [colour[id_] for id_ in ids],
            "values": [number.get(of.get(image, ""), -1) for image in found.images],
        },
        "verdict": _categories(main_verdict(each.verdict).outcome.label for each in there),
        "likeliest": _categories(_likeliest(each) for each in there),
        "folder": _categories(str(PurePath(each.verdict.path).parent) for each in there),
    }
    answer = {
        "head": place.case().head,
        "layout": found.digest,
        "files": [PurePath(each.verdict.path).name for each in there],
        "known": [int(x not in of and not groups.is_unnamed(items[x])) for x in found.images],
        "kinds": kinds,
    }
    return JSONResponse(answer)


def _layout(place: Place) -> Layout:
    """The map of a case.

    Raises:
        UserError: It has no groups yet, so that nobody knows which embeddings count.
    """
    clusters = place.review().clusters
    if clusters is None:
        raise UserError(f"{place.folder}: has no groups yet; look for some first")
    kept = groups.features(place.folder, clusters.embedding)
    return lay_out(place.folder, kept, clusters.embedding, place.items())


def _likeliest(item: Item) -> str:
    likely = main_verdict(item.verdict).alternatives[:1]
    return likely[0].name if likely else "none"


def _categories(words: Iterable[str]) -> dict[str, Any]:
    """Words as indices of names, the most frequent first."""
    given = list(words)
    names = [word for word, _ in Counter(given).most_common(_MOST)]
    index = {word: number for number, word in enumerate(names)}
    values = [index.get(word, len(names)) for word in given]
    return {"names": [*names, _ELSEWHERE] if len(names) == _MOST else names, "values": values}
