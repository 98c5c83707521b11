"""Decisions on groups, as the screen at ``/discover`` sends them: each is done by a ``Reviewer``.

A form holds ``head``, the journal's last line when the page was made, and ``at``, the address of
the page. The answer is that page as it is now, without its frame where htmx asked. Where groups
have changed since ``head``, nothing is done: the answer is 409, and says who did what.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from owdfa.case.review import ConflictError, Step, describe
from owdfa.errors import UserError
from owdfa.serve.groups import NONE, known_types
from owdfa.serve.pages import show, who
from owdfa.serve.pages.group_views import common, place_of, view_at
from owdfa.stages.review import Made, Reviewer

router = APIRouter()
_VIEWS = ("", "map", NONE)  # what may follow the address of this screen, besides groups
_MAX_FIELD = 64 * 2**20  # bytes: a million images by SHA-256


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form, in the order in which they came; of a name that comes twice the last.

    The answer to a form that is no form is 400.
    """
    async with request.form(max_part_size=_MAX_FIELD) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


Form = Annotated[Mapping[str, str], Depends(read_form)]


@router.post("/discover/undo")
def undo(request: Request, form: Form) -> Response:
    """Take back the last decision."""
    return _decide(
        request, form, lambda r: r.undo(), lambda m: f"Took back: {_told(m.review.undone)}."
    )


@router.post("/discover/redo")
def redo(request: Request, form: Form) -> Response:
    """Do again what was taken back last."""
    return _decide(
        request, form, lambda r: r.redo(), lambda m: f"Done again: {_told(m.review.done)}."
    )


@router.post("/discover/move")
def move(request: Request, form: Form) -> Response:
    """Put images into a group, or into a new one where none is named."""
    images, to = _images(form), form.get("to", "")
    if to:
        return _decide(request, form, lambda r: r.move(images, to))
    return _decide(request, form, lambda r: r.gather(images))


@router.post("/discover/{id_}/name")
def name(request: Request, form: Form, id_: str) -> Response:
    """Say what type a group is."""
    given = " ".join(form.get("name", "").split())
    known = given in known_types(place_of(request).case().entries)
    also = f"{given} is a known type: promote adds these images to it." if known else ""
    return _decide(request, form, lambda r: r.name(id_, given), also=also)


@router.post("/discover/merge")
def merge(request: Request, form: Form) -> Response:
    """Put groups into another, which may be named among them."""
    into = form.get("into", "")
    others = [x for x in (form.get("another") or form.get("other", "")).split() if x != into]
    if not others:
        raise UserError("no group is chosen; choose the one to merge with")
    return _decide(request, form, lambda r: r.merge(into, others))


@router.post("/discover/{id_}/split")
def split(request: Request, form: Form, id_: str) -> Response:
    """Split images off a group: those that are named, or the proposed half."""
    named = _images(form) if "images" in form else []
    return _decide(request, form, lambda r: r.split(id_, named))


@router.post("/discover/{id_}/reject")
def reject(request: Request, form: Form, id_: str) -> Response:
    """Say that a group is no type."""
    return _decide(request, form, lambda r: r.reject(id_))


@router.post("/discover/{id_}/note")
def note(request: Request, form: Form, id_: str) -> Response:
    """Remark something of a group."""
    text = form.get("text", "")
    return _decide(request, form, lambda r: r.note(id_, text))


def _images(form: Mapping[str, str]) -> list[str]:
    """SHA-256 of the images that were chosen.

    Raises:
        UserError: There are none.
    """
    found = form.get("images", "").split()
    if not found:
        raise UserError("no image is selected; select some first")
    return found


def _told(steps: Sequence[Step]) -> str:
    """What the last of some steps was, in words."""
    return describe(steps[-1].entry)


def _decide(
    request: Request,
    form: Mapping[str, str],
    act: Callable[[Reviewer], Made],
    tell: Callable[[Made], str] = lambda made: f"Done: {made.sentence}.",
    also: str = "",
) -> Response:
    """Do something, and answer with the page that it was asked from.

    Args:
        request: The request.
        form: Its form.
        act: Does it.
        tell: Says what was done.
        also: What to say besides.
    """
    head, place, by = form.get("head", ""), place_of(request), who(request)
    if not head:
        raise UserError("the form does not say what its reader saw; load the page again")
    try:
        with place.writing() as case:
            made = act(Reviewer(case, head=head, who=by))
    except ConflictError as error:
        told = [(each.who, describe(each), each.time) for each in error.since]
        return show(request, "_group_conflict.html", 409, told=told)
    at = _still_there(form.get("at", ""), made)
    if "HX-Request" not in request.headers:
        return RedirectResponse(at, 303)
    view = view_at(place, at)
    said = {"said": tell(made), "aside": also, "made": _made_group(made)}
    values = {**common(request, view), "at": at, **said}
    answer = show(request, "_group_done.html", **values)
    if at != form.get("at"):
        answer.headers["HX-Replace-Url"] = at
    return answer


def _still_there(at: str, made: Made) -> str:
    """An address of this screen; that of all groups where what it showed is no more."""
    state, parts = made.review.state, urlsplit(at)
    name = parts.path.removeprefix("/discover")
    is_ours = (
        not (parts.scheme or parts.netloc)
        and parts.path == f"/discover{name}"
        and name[:1] in ("", "/")
    )
    if not is_ours:
        return "/discover"
    shown = dict(parse_qsl(parts.query)).values() if name == "/compare" else [name[1:]]
    lost = [x for x in shown if x not in (*_VIEWS, *state.groups)]
    if not lost:
        return at
    went = state.gone.get(lost[0])
    return f"/discover/{went[0]}" if went else "/discover"


def _made_group(made: Made) -> str | None:
    """Id of the group that a decision made, if it made one."""
    last = made.review.done[-1:]
    new: str | None = (
        last[0].entry.data.get("new") if last and last[0].entry.hash == made.head else None
    )
    return new
