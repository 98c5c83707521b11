"""The screen at ``/journal``: who did what and when, and whether anything was altered since."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse

from owdfa.case import Entry, check
from owdfa.case.journal import FIRST
from owdfa.errors import UserError
from owdfa.serve.pages import show
from owdfa.serve.place import Place
from owdfa.stages.evidence.content import journal_line

PAGE = 100
"""Lines that are shown at a time."""
_SHORT = 6  # the fewest digits that say which line a hash is of

router = APIRouter()


class Wanted(NamedTuple):
    """Which lines are to be shown."""

    what: str = ""
    who: str = ""
    before: int = 0  # number of a line; 0 for the end

    def fits(self, entry: Entry) -> bool:
        """Whether a line is one of them."""
        return self.what in ("", entry.what) and self.who in ("", entry.who)


def wanted_of(what: str = "", who: str = "", before: int = 0) -> Wanted:
    """What an address says."""
    return Wanted(what, who, before)


Choice = Annotated[Wanted, Depends(wanted_of)]


@router.get("/journal")
def page(request: Request, wanted: Choice) -> HTMLResponse:
    """The screen."""
    place = _place(request)
    try:
        entries = place.case().entries if place.begun else ()
        notes = place.case().notes if place.begun else []
    except UserError as error:  # the check says more of it
        return show(request, "journal.html", 400, problem=str(error))
    return show(
        request,
        "journal.html",
        problem=None,
        head=entries[-1].hash if entries else FIRST,
        num_lines=len(entries),
        whats=sorted({each.what for each in entries}),
        whos=sorted({each.who for each in entries}),
        notes=notes,
        **_lines(entries, wanted),
    )


@router.get("/journal/lines")
def lines(request: Request, wanted: Choice) -> HTMLResponse:
    """Some lines, for the list to go on with."""
    return show(request, "_lines.html", **_lines(_place(request).case().entries, wanted))


@router.post("/journal/check")
def check_now(request: Request, noted: str = Form("")) -> HTMLResponse:
    """Look whether a line, a verdict or a file of groups was altered."""
    place, noted = _place(request), noted.strip().lower()
    problems = check(place.folder)
    if not problems and noted:
        problems = _compare(place, noted)
    return show(request, "_checked.html", problems=problems, entries=_entries(place), noted=noted)


def _lines(entries: Sequence[Entry], wanted: Wanted) -> dict[str, Any]:
    """What ``_lines.html`` shows: the newest of the lines that are wanted."""
    found = [each for each in entries if wanted.fits(each)]
    rest = [each for each in reversed(found) if not wanted.before or each.seq < wanted.before]
    shown = rest[:PAGE]
    return {
        "wanted": wanted,
        "num_found": len(found),
        "lines": [journal_line(each) for each in shown],
        "more": shown[-1].seq if len(rest) > PAGE else None,
    }


def _compare(place: Place, noted: str) -> list[str]:
    """What speaks against a hash that was noted down earlier."""
    if len(noted) < _SHORT:
        return [f"{noted}: give at least {_SHORT} digits of the hash that you noted"]
    if any(each.hash.startswith(noted) for each in _entries(place)):
        return []
    return [f"no line has the hash {noted[:64]}: the journal is not the one that it was noted of"]


def _entries(place: Place) -> tuple[Entry, ...]:
    try:
        return place.case().entries
    except UserError:  # altered, as the check says
        return ()


def _place(request: Request) -> Place:
    found: Place = request.app.state.service.place
    return found
