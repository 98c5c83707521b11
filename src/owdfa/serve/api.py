"""The HTTP API, version 1."""

import json
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from owdfa.case.actions import Group as CaseGroup
from owdfa.case.actions import Merge, Move, Name, Reject, Remark
from owdfa.case.review import ConflictError, Review, describe, statistics
from owdfa.errors import UserError
from owdfa.records.clusters import Cluster
from owdfa.records.verdict import FileVerdict
from owdfa.serve.media import Digest, Working
from owdfa.serve.pages import who
from owdfa.serve.schemas import (
    Asked,
    Attributed,
    Conflict,
    Decided,
    Decision,
    GatherImages,
    GroupAnswer,
    Grouping,
    Groups,
    Problem,
    SplitOff,
    TakeBack,
    Types,
    VerdictPage,
)  # fmt: skip
from owdfa.serve.service import JobState, Service
from owdfa.serve.uploads import RefusedError
from owdfa.stages.evidence.card import ModelCard
from owdfa.stages.review import Made, Reviewer

PREFIX = "/v1"
VERSION = version("owdfa")
DESCRIPTION = """Verdicts on images and videos, and the review of a case.

Every error is `{"detail": "one line that names what is wrong and the remedy"}`. Where a token is
needed, send it as `Authorization: Bearer TOKEN`."""

_BY_DENSITY = Grouping()
_MOST_SECONDS = 300.0
_BEAT = 10.0  # seconds between two signs of life in a stream of events
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_JOB = {
    "id": "5f0c1d2e3b4a5968", "kind": "attribute", "state": "done",
    "created": "2026-01-31T12:00:00+00:00", "who": "ann", "num_files": 1, "num_done": 1, "note": "",
    "files": [{"name": "a.jpg", "sha256": _SHA, "state": "done", "error": None}],
}  # fmt: skip
_EVENT = f"id: 1-done\nevent: job\ndata: {json.dumps({**_JOB, 'files': []})}\n\n"


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {
        400: "Something is wrong with the request, the case or the run.",
        404: "There is none.",
        409: "Others have changed groups since; nothing was done.",
        413: "A file, the request, or the number of files is too large.",
        415: "Neither a form nor the bytes of a file.",
        503: "Too many files wait.",
        507: "The disk is full.",
    }
    always: dict[int | str, dict[str, Any]] = {
        401: {"description": "The token is missing or wrong."},
        403: {"description": "The request comes from the page of another site."},
        421: {"description": "The address in `Host` is not served here."},
        422: {"description": "A value does not fit."},
    }
    always = {status: {**each, "model": Problem} for status, each in always.items()}
    return {
        **{
            n: {"description": told[n], "model": Conflict if n == 409 else Problem}
            for n in statuses
        },
        **always,
    }


router = APIRouter(prefix=PREFIX, responses=_refusals(400))
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILES = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"files": {"type": "array", "items": _BINARY["schema"]}},
        }
    },
    "image/*": _BINARY, "video/*": _BINARY, "application/octet-stream": _BINARY,
}  # fmt: skip


@router.post(
    "/attribute",
    response_model=Attributed,
    responses={
        **_refusals(413, 415, 503, 507),
        202: {"model": JobState, "description": "It takes longer: ask for the job.",
              "content": {"application/json": {"example": _JOB}}},
    },
    openapi_extra={
        "requestBody": {"required": True, "content": _FILES},
        "parameters": [{"name": "name", "in": "query", "schema": {"type": "string"},
                        "description": "Name of a file that is sent as bytes."}],
    },
)  # fmt: skip
async def attribute(
    request: Request,
    service: Working,
    wait: Annotated[
        float, Query(ge=0, le=_MOST_SECONDS, description="Seconds after which 202 is answered.")
    ] = 30.0,
) -> Response:
    """Give verdicts of images and videos: a form with files, or the bytes of one.

    What was answered with 200 or 202 is on the disk, and gets its verdict whatever ends.
    """
    received = await service.receive(request)
    job = await service.submit(received, who(request))
    ended = await service.wait(job.id, wait) if wait else job
    if ended is None or not ended.ended:
        return JSONResponse((ended or job).model_dump(mode="json"), 202)
    made = await anyio.to_thread.run_sync(_attributed, service, ended)
    return Response(made.model_dump_json(by_alias=True), media_type="application/json")


def _attributed(service: Service, job: JobState) -> Attributed:
    found = (service.verdict(each.sha256) for each in job.files if each.state == "done")
    return Attributed(job=job, verdicts=[each for each in found if each is not None])


@router.get("/jobs", response_model=list[JobState])
def jobs(service: Working, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[JobState]:
    """The last jobs, without their files, the newest first."""
    return service.jobs(limit)


@router.get(
    "/jobs/{id}",
    responses={**_refusals(404), 200: {"content": {"application/json": {"example": _JOB}}}},
)
def job(service: Working, id: str) -> JobState:  # noqa: A002  in the address
    """A job with its files."""
    found = service.job(id)
    if found is None:
        raise RefusedError(404, f"{id[:64]}: no such job; GET {PREFIX}/jobs lists them")
    return found


@router.get(
    "/jobs/{id}/events",
    response_class=StreamingResponse,
    responses={
        **_refusals(404),
        200: {"content": {"text/event-stream": {"example": _EVENT}},
              "description": "The job, without its files, each time that it changes."},
        204: {"description": "The job has ended, and `Last-Event-ID` says that you know it."},
    },
)  # fmt: skip
async def events(request: Request, service: Working, id: str) -> Response:  # noqa: A002
    """Follow a job: server-sent events, until it is done or failed."""
    found = job(service, id)
    seen = request.headers.get("last-event-id", "")
    if found.ended and _event_id(found) == seen:
        return Response(status_code=204)  # which tells an EventSource not to connect again
    return StreamingResponse(_events(service, id, seen), media_type="text/event-stream")


async def _events(service: Service, id_: str, seen: str) -> AsyncIterator[str]:
    import asyncio

    states = service.watch(id_)
    following: asyncio.Task[JobState | None] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(states, None))
            done, _ = await asyncio.wait([following], timeout=_BEAT)
            if not done:
                yield ": still there\n\n"
                continue
            state, following = following.result(), None
            if state is None:
                return
            if (known := _event_id(state)) != seen:
                seen = known
                short = state.model_copy(update={"files": ()})
                yield f"id: {known}\nevent: job\ndata: {short.model_dump_json()}\n\n"
    finally:
        if following is not None:
            following.cancel()


def _event_id(state: JobState) -> str:
    return f"{state.num_done}-{state.state}"


@router.get("/verdicts", response_model=VerdictPage)
def verdicts(
    service: Working,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """The verdicts of the case, some at a time, the last one first."""
    total, found = service.place.latest(offset, limit)
    page = VerdictPage(total=total, offset=offset, verdicts=[each.verdict for each in found])
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


@router.get("/verdicts/{sha256}", responses=_refusals(404))
def verdict(service: Working, sha256: Digest) -> FileVerdict:
    """The verdict of a file, by its SHA-256."""
    found = service.verdict(sha256)
    if found is None:
        raise RefusedError(404, f"{sha256}: no file of the case has this SHA-256; attribute it")
    return found


@router.get("/groups")
def groups(service: Working) -> Groups:
    """The groups of the case; none before ``discover``."""
    place = service.place
    head = place.case().head if place.begun else ""
    return Groups(head=head, groups=_groups(place.review()))


@router.get("/groups/{group}", responses=_refusals(404))
def group(service: Working, group: str) -> GroupAnswer:
    """A group, by its id or name."""
    review = service.place.review()
    try:
        return _group(review.state.find(group), statistics(review))
    except UserError as error:
        raise RefusedError(404, str(error)) from None


@router.post("/review", responses=_refusals(409))
def review(
    request: Request,
    service: Working,
    asked: Annotated[
        Asked,
        Body(
            openapi_examples={
                "name": {"value": {"head": "4be1c0ffee", "decision": {
                    "action": "name", "group": "novel-7f3a", "name": "FaceForge 2"}}},
                "merge": {"value": {"head": "4be1c0ffee", "decision": {
                    "action": "merge", "into": "novel-7f3a", "groups": ["novel-91c0"]}}},
                "undo": {"value": {"head": "4be1c0ffee", "decision": {"action": "undo"}}},
            }
        ),
    ],
) -> Decided:  # fmt: skip
    """Decide on groups: name, merge, split, move, gather, reject, note, undo, redo.

    It is refused with 409 where others have changed groups since ``head``.
    """
    service.place.case()  # says so where there is none; to write would begin one
    with service.place.writing() as case:
        made = _decide(Reviewer(case, head=asked.head, who=who(request)), asked.decision)
    return Decided(sentence=made.sentence, head=made.head, groups=_groups(made.review))


def _decide(reviewer: Reviewer, decision: Decision) -> Made:
    match decision:
        case Name():
            return reviewer.name(decision.group, decision.name)
        case Merge():
            return reviewer.merge(decision.into, decision.groups)
        case SplitOff() | Move() | GatherImages():
            return _take(reviewer, decision)
        case Reject():
            return reviewer.reject(decision.group)
        case Remark():
            return reviewer.note(decision.group, decision.text)
        case TakeBack():
            return {"undo": reviewer.undo, "redo": reviewer.redo}[decision.action]()


def _take(reviewer: Reviewer, decision: SplitOff | Move | GatherImages) -> Made:
    """Take images out of where they are."""
    match decision:
        case SplitOff():
            return reviewer.split(decision.group, decision.images)
        case Move():
            return reviewer.move(decision.images, decision.to)
        case GatherImages():
            return reviewer.gather(decision.images)


@router.post("/discover", status_code=202)
async def discover(
    request: Request, service: Working, grouping: Annotated[Grouping, Body()] = _BY_DENSITY
) -> JobState:
    """Group the images of the case that no known type was named for; ask for the job."""
    options = {"--by": grouping.by, "--min-size": grouping.min_size, "--seed": grouping.seed}
    pairs = (part for name, value in options.items() for part in (name, str(value)))
    folder = str(service.place.folder.absolute())
    return await service.command("discover", [folder, *pairs], who(request))


@router.get("/types", responses=_refusals(404))
async def types(service: Working) -> Types:
    """What verdicts rest on, and how well each known type is recognised."""
    attribution, card = await service.attribution(), await service.card()
    if attribution is None or card is None:
        raise RefusedError(404, "no run is served; start owdfa serve with --run RUN")
    return Types(attribution=attribution, card=ModelCard.model_validate(card))


def _groups(review: Review) -> list[GroupAnswer]:
    measured = statistics(review)
    return [_group(each, measured) for each in review.state.groups.values()]


def _group(group: CaseGroup, measured: dict[str, Cluster]) -> GroupAnswer:
    return GroupAnswer(
        id=group.id, name=group.name, named=group.named, rejected=group.rejected,
        notes=group.notes, members=sorted(group.members), measured=measured.get(group.id),
    )  # fmt: skip


def status_of(error: Exception) -> int:
    """HTTP status of what a user can fix."""
    if isinstance(error, RefusedError):
        return error.status
    return 409 if isinstance(error, ConflictError) else 400


def say(service: Service, error: Exception) -> Response:
    """What a user can fix, as JSON."""
    told: dict[str, Any] = {"detail": str(error)}
    if isinstance(error, ConflictError):
        told["head"] = service.place.case().head
        told["since"] = [
            {"seq": each.seq, "time": each.time, "who": each.who, "sentence": describe(each)}
            for each in error.since
        ]
    return JSONResponse(told, status_of(error))
