"""The screen at ``/types``: what the run can name, how well, and how far that is known."""

import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from PIL import Image

from owdfa.case.actions import Group
from owdfa.errors import UserError
from owdfa.records.verdict import Attribution
from owdfa.serve.pages import show
from owdfa.serve.place import Place
from owdfa.serve.service import Service
from owdfa.stages.evidence.card import ClassLine, ModelCard
from owdfa.stages.evidence.nearest import LabelledCrops

NUM_EXAMPLES = 6
"""Training images that are shown of a type."""
_SIZE = 96  # longest side of one in pixels

router = APIRouter()


class Examples:
    """Training images of the types of a run, opened when the first is asked for; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: Path | None = None
        self._crops: LabelledCrops | None = None
        self._rows: dict[str, np.ndarray] = {}

    def rows(self, run: Path, name: str) -> np.ndarray:
        """Rows of the crops of some images of a type.

        Raises:
            UserError: They are not at hand.
        """
        with self._lock:
            if self._crops is None or self._run != run:
                self._run, self._crops, self._rows = run, LabelledCrops(run), {}
            if name not in self._rows:
                self._rows[name] = self._crops.some(name, NUM_EXAMPLES)[1]
            return self._rows[name]

    def pixels(self, run: Path, name: str, number: int) -> np.ndarray | None:
        """(S, S, 3) uint8: one of these images; None where there is none of that number.

        Raises:
            UserError: They are not at hand.
        """
        rows = self.rows(run, name)
        if not 0 <= number < len(rows) or self._crops is None:
            return None
        return np.asarray(self._crops.store.pixels[rows[number]])


_EXAMPLES = Examples()


class TypeLine(NamedTuple):
    """What is shown of a known type."""

    number: int
    name: str
    family: str | None
    is_real: bool
    measured: ClassLine | None  # None where the run is not at hand
    num_examples: int


@router.get("/types")
async def page(request: Request) -> HTMLResponse:
    """The screen."""
    service: Service = request.app.state.service
    problem, made, told = None, None, None
    try:
        made, told = await service.attribution(), await service.card()
    except UserError as error:
        problem = str(error)
    card = None if told is None else ModelCard.model_validate(told)
    return await run_in_threadpool(_page, request, made, card, problem)


@router.get("/types/{index}/{number}.jpg")
async def example(request: Request, index: int, number: int) -> Response:
    """A training image of a type."""
    service: Service = request.app.state.service
    made, run = await service.attribution(), service.place.run
    if made is None or run is None or not 0 <= index < made.num_known:
        return Response(status_code=404)
    found = await run_in_threadpool(_EXAMPLES.pixels, run, made.classes[index], number)
    if found is None:
        return Response(status_code=404)
    stream, picture = BytesIO(), Image.fromarray(found)
    picture.thumbnail((_SIZE, _SIZE))
    picture.save(stream, "JPEG", quality=85)
    kept = {"Cache-Control": "private, max-age=3600"}
    return Response(stream.getvalue(), media_type="image/jpeg", headers=kept)


def _page(
    request: Request, made: Attribution | None, card: ModelCard | None, problem: str | None
) -> HTMLResponse:
    place: Place = request.app.state.service.place
    made = made or _last(place)
    names = () if made is None else made.classes[: made.num_known]
    counts, lacking = _count_examples(place.run, names)
    return show(
        request,
        "types.html",
        made=made,
        card=card,
        problem=problem,
        types=[] if made is None else _lines(made, card, counts),
        lacking=lacking,
        groups=_named(place, names),
    )


def _lines(made: Attribution, card: ModelCard | None, counts: dict[str, int]) -> list[TypeLine]:
    measured = {each.name: each for each in card.classes} if card else {}
    return [
        TypeLine(
            number=number,
            name=name,
            family=made.calibration.families.get(name),
            is_real=name in made.calibration.real,
            measured=measured.get(name),
            num_examples=counts.get(name, 0),
        )
        for number, name in enumerate(made.classes[: made.num_known])
    ]


def _count_examples(run: Path | None, names: Sequence[str]) -> tuple[dict[str, int], str | None]:
    """How many examples there are by type, or why there are none."""
    if run is None or not run.is_dir():
        return {}, None
    try:
        return {name: len(_EXAMPLES.rows(run, name)) for name in names}, None
    except UserError as error:
        return {}, str(error)


def _named(place: Place, known: Sequence[str]) -> list[Group]:
    """Groups that reviewers named, and that the run does not know yet; the largest first."""
    groups = place.review().state.groups.values()
    found = [each for each in groups if each.name and each.name not in known and not each.rejected]
    return sorted(found, key=lambda each: (-len(each.members), each.id))


def _last(place: Place) -> Attribution | None:
    """What the last verdicts of the case rest on, where the run is gone."""
    if not place.begun:
        return None
    made = [each for each, _ in place.case().attributions().values()]
    return made[-1] if made else None
