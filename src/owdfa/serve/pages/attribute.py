"""The screen at ``/``: the files of the case and their verdicts, and one file at ``/files/...``."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, Response

from owdfa.case import Case, Item
from owdfa.errors import UserError
from owdfa.records.verdict import FileVerdict, Kind
from owdfa.serve.media import DOWNLOADS, Working, downloads
from owdfa.serve.pages import show, who
from owdfa.serve.place import Place
from owdfa.serve.service import Service
from owdfa.serve.uploads import RefusedError
from owdfa.stages.evidence.data import InputEvidence
from owdfa.stages.evidence.page import KINDS, headline, leading

PAGE = 60
"""Files that are shown at a time."""
_MAX_PAGES = 50  # that one request is answered with
ORDERS = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "surest": "Most probable first",
    "unsure": "Least probable first",
    "name": "By name",
}

router = APIRouter()


class Chosen(NamedTuple):
    """Which files are to be shown, and in which order."""

    kind: str = ""  # of the outcome; all where it is none
    q: str = ""
    sort: str = "newest"

    @property
    def query(self) -> str:
        """The same as the query of an address, without what is as it is anyway."""
        told = self._asdict().items()
        return urlencode({k: v for k, v in told if v != Chosen._field_defaults[k]})


def chosen(kind: str = "", q: str = "", sort: str = "newest") -> Chosen:
    """What an address says; a word that there is not is left aside."""
    return Chosen(
        kind if kind in get_args(Kind) else "",
        q.strip()[:200],
        sort if sort in ORDERS else "newest",
    )


Choice = Annotated[Chosen, Depends(chosen)]


@router.get("/")
def page(request: Request, choice: Choice, pages: int = 1) -> HTMLResponse:
    """The screen."""
    pages = min(max(pages, 1), _MAX_PAGES)
    place = _place(request)
    items = place.items()
    counts = Counter(item.verdict.outcome.kind for item in items.values())
    return show(
        request,
        "attribute.html",
        kinds=[(kind, text, counts[kind]) for kind, text in KINDS.items() if counts[kind]],
        headline=headline([item.verdict for item in items.values()]),
        total=len(items),
        orders=ORDERS,
        limits=request.app.state.service.settings,
        report=_find_report(place),
        part=False,
        **_cards(place, choose(items.values(), choice), choice, (1, pages)),
    )


@router.get("/ready")
async def ready(request: Request, service: Working) -> HTMLResponse:
    """Why the run gives no verdicts; nothing where it does. Asked for beside the page: it waits."""
    try:
        await service.attribution()
    except UserError as error:
        return show(request, "_error.html", message=str(error))
    return HTMLResponse("")


@router.get("/files")
def cards(request: Request, choice: Choice, page: int = 1) -> Response:
    """Some cards, for the list to go on with; the browser's address follows."""
    page = max(page, 1)
    place = _place(request)
    found = choose(place.items().values(), choice)
    answer = show(request, "_cards.html", part=True, **_cards(place, found, choice, (page, page)))
    told = [choice.query, f"pages={min(page, _MAX_PAGES)}" if page > 1 else ""]
    query = "&".join(each for each in told if each)
    answer.headers["HX-Replace-Url"] = f"/?{query}" if query else "/"
    return answer


@router.get("/files/{sha256}")
def file(request: Request, sha256: str, choice: Choice) -> HTMLResponse:
    """A file and all that is said of it."""
    place = _place(request)
    items = place.items()
    if sha256 not in items:
        raise RefusedError(404, f"{sha256[:64]}: is the SHA-256 of no file of the case; see /")
    item = items[sha256]
    digests = [str(each.verdict.sha256) for each in choose(items.values(), choice)]
    at = digests.index(sha256) if sha256 in digests else None
    case = place.case()
    groups = [each for each in place.review().state.groups.values() if sha256 in each.members]
    return show(
        request,
        "file.html",
        item=item,
        input=InputEvidence(file=item.verdict, line=item.seq, earlier=item.earlier, state="unread"),
        entry=case.entries[item.seq - 1],
        at_hand=case.find_input(item).is_file(),
        pictured=_has_picture(case, item),
        seen_whole=_is_seen_whole(place, item.verdict),
        group=groups[0] if groups else None,
        number=None if at is None else at + 1,
        total=len(digests),
        before=digests[at - 1] if at else None,
        after=digests[at + 1] if at is not None and at + 1 < len(digests) else None,
        choice=choice,
    )


def _is_seen_whole(place: Place, file: FileVerdict) -> bool:
    """Whether what the network saw is the image as it is, so that one picture shows both."""
    made = place.attribution(file.attribution)
    is_square = file.width is not None and file.width == file.height
    whole = all(each.box is None for each in file.verdicts)
    return made is not None and made.fit == "resize" and is_square and whole


@router.get("/verdicts.jsonl")
def verdicts(request: Request) -> Response:
    """All verdicts as their schema has them, one a line."""
    files = (item.verdict for item in _place(request).items().values())
    text = "".join(f"{each.model_dump_json(by_alias=True)}\n" for each in files)
    kept = {"Content-Disposition": 'attachment; filename="verdicts.jsonl"'}
    return Response(text, media_type="application/jsonl", headers=kept)


@router.get("/verdicts.csv")
def table(request: Request) -> Response:
    """All verdicts as a table, a row a face."""
    place = _place(request)
    place.case()
    place.write_table()
    return FileResponse(
        place.folder / "verdicts.csv", media_type="text/csv", filename="verdicts.csv"
    )


@router.post("/report")
async def make_report(request: Request, service: Working) -> HTMLResponse:
    """Begin to make the evidence report; the page follows the job."""
    name, arguments = await run_in_threadpool(_report, service)
    job = await service.command("report", arguments, who(request))
    return show(request, "_job.html", job=job, name=name)


def _report(service: Service) -> tuple[str, list[str]]:
    """Name of the report of the case as it is, and what makes it."""
    place = service.place
    case, name = place.case(), _report_name(place)
    arguments = [str(place.folder.absolute()), "-o", str(downloads(service).absolute() / name)]
    moved = any(not run.exists() for _, run in case.attributions().values())
    if moved and place.run is not None:
        arguments += ["--run", str(place.run.absolute())]
    return name, arguments


def _find_report(place: Place) -> str | None:
    """Name of the report of the case as it is, where that was made."""
    if not place.begun or not (place.folder / DOWNLOADS / _report_name(place)).is_file():
        return None
    return _report_name(place)


def _report_name(place: Place) -> str:
    return f"evidence-{place.case().head[:12]}.html"


def choose(items: Iterable[Item], choice: Chosen) -> list[Item]:
    """The files that are wanted, in the order that is wanted."""
    words = choice.q.casefold().split()
    found = [
        item
        for item in items
        if (not choice.kind or item.verdict.outcome.kind == choice.kind)
        and (not words or _has(item.verdict, words))
    ]
    match choice.sort:
        case "newest":
            found.reverse()
        case "name":
            found.sort(key=lambda item: item.verdict.path.casefold())
        case "surest" | "unsure" as order:
            sign = -1 if order == "surest" else 1
            found.sort(key=lambda item: _rank(item.verdict, sign))
    return found


def _rank(file: FileVerdict, sign: int) -> tuple[bool, float]:
    """Where a file comes in order of probability; last where its verdict has none."""
    sure = leading(file)
    return sure is None, sign * (sure or 0.0)


def _has(file: FileVerdict, words: list[str]) -> bool:
    text = f"{file.path} {file.outcome.brief} {file.sha256}".casefold()
    return all(word in text for word in words)


def _cards(
    place: Place, found: list[Item], choice: Chosen, pages: tuple[int, int]
) -> dict[str, Any]:
    """What ``_cards.html`` shows: the first to the last of some pages of cards."""
    first, last = pages
    shown = found[(first - 1) * PAGE : last * PAGE]
    case = place.case() if shown else None
    return {
        "files": [item.verdict for item in shown],
        "pictured": {item.verdict.sha256 for item in shown if case and _has_picture(case, item)},
        "num_found": len(found),
        "choice": choice,
        "first": first,
        "more": last + 1 if last * PAGE < len(found) else None,
    }


def _has_picture(case: Case, item: Item) -> bool:
    """Whether a picture is worth asking for: a worker finds out whether there is one."""
    return item.verdict.format is not None and case.find_input(item).is_file()


def _place(request: Request) -> Place:
    found: Place = request.app.state.service.place
    return found
