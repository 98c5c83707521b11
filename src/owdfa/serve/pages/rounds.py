"""What takes a while on the screen at ``/discover``: find groups, promote them, look again."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from owdfa.errors import UserError
from owdfa.records.clusters import By
from owdfa.serve.media import downloads, service_of
from owdfa.serve.pages import show, who
from owdfa.serve.service import JobState

router = APIRouter()
_KINDS = ("discover", "promote", "rescan")


@router.post("/discover/run")
async def run(
    request: Request, by: Annotated[By, Form()], min_size: Annotated[int, Form(ge=3)]
) -> Response:
    """Look for groups."""
    service = service_of(request)
    place = service.place
    given = [str(place.folder), "--by", by, "--min-size", str(min_size)]
    given += ["--run", str(place.run)] if place.run else []
    return _tell(request, await service.command("discover", given, who(request)))


@router.post("/discover/promote")
async def promote(request: Request) -> Response:
    """Write the next manifest; the case says where, never the page."""
    service = service_of(request)
    folder = service.place.folder / "rounds"
    number = 2 + len(list(folder.glob("images*.parquet")))
    given = [str(service.place.folder), "-o", str(folder / f"images{number}.parquet")]
    return _tell(request, await service.command("promote", given, who(request)))


@router.post("/discover/rescan")
async def rescan(request: Request, keep: Annotated[bool, Form()] = False) -> Response:
    """Attribute the files of the case by the run that is served, and say what changes."""
    service = service_of(request)
    place = service.place
    if place.run is None:
        raise UserError(f"{place.folder}: no run is served; start owdfa serve with --run RUN")
    table = await run_in_threadpool(downloads, service)
    given = [str(place.folder), "--run", str(place.run), "-o", str(table / "changes.csv")]
    given += ["--keep"] if keep else []
    return _tell(request, await service.command("rescan", given, who(request)))


@router.get("/discover/jobs/{id_}")
def job(request: Request, id_: str) -> Response:
    """How far a job is."""
    return _tell(request, service_of(request).job(id_))


def _tell(request: Request, job: JobState | None) -> Response:
    """How far a job is; the whole screen, which has it too, where htmx did not ask."""
    if job is not None and job.kind not in _KINDS:
        raise UserError(f"{job.id[:20]}: is no job of this page")
    if "HX-Request" not in request.headers:
        return RedirectResponse("/discover", 303)
    return show(request, "_group_job.html", job=job)
