"""Pictures of the files of a case: each drawn once by a worker, and kept below ``pictures/``.

The folder may be deleted at any time.
"""

import asyncio
import hashlib
from pathlib import Path

import anyio.to_thread

from owdfa.case import Item
from owdfa.records.verdict import Verdict
from owdfa.serve.drawing import Kind, Wanted
from owdfa.serve.place import Place
from owdfa.serve.pool import Asks, WorkerError

FOLDER = "pictures"


class Pictures:
    """Has pictures drawn.

    Args:
        place: The case.
        asks: Workers that draw.
    """

    def __init__(self, place: Place, asks: Asks) -> None:
        self._place, self._asks = place, asks
        self._drawing: dict[Path, asyncio.Task[Path | None]] = {}
        self._none: set[Path] = set()  # of which there is no picture

    async def find(self, item: Item, kind: Kind, number: int) -> Path | None:
        """The picture of a file; None where there is none.

        Args:
            item: The file.
            kind: Which picture.
            number: Of the verdict, for a face.
        """
        verdicts = item.verdict.verdicts
        if not 0 <= number < len(verdicts):
            return None
        output = self._path(item, kind, verdicts[number])
        if output in self._none:
            return None
        if output.is_file():
            return output
        if output not in self._drawing:
            drawing = asyncio.create_task(self._draw(item, kind, verdicts[number], output))
            self._drawing[output] = drawing
            drawing.add_done_callback(lambda _: self._drawing.pop(output, None))
        return await asyncio.shield(self._drawing[output])

    def _path(self, item: Item, kind: Kind, verdict: Verdict) -> Path:
        """Where a picture belongs: one of a face is of one verdict, and another run has others."""
        sha256 = str(item.verdict.sha256)
        name = f"{sha256}-{kind}"
        if kind == "face":
            basis = f"{item.verdict.attribution} {verdict.box} {_time(verdict)}"
            name += f"-{hashlib.sha256(basis.encode()).hexdigest()[:16]}"
        return self._place.folder / FOLDER / sha256[:2] / f"{name}.jpg"

    async def _draw(self, item: Item, kind: Kind, verdict: Verdict, output: Path) -> Path | None:
        wanted = await anyio.to_thread.run_sync(self._wanted, item, kind, verdict, output)
        if wanted is None:
            return None
        request = {"do": "draw", "picture": wanted.model_dump(mode="json")}
        try:
            answer = await self._asks.ask(request)
        except WorkerError:
            self._none.add(output)
            return None
        return output if answer.value.get("drawn") else None

    def _wanted(self, item: Item, kind: Kind, verdict: Verdict, output: Path) -> Wanted | None:
        """What a worker is to draw; None where the case does not say how."""
        file, made = item.verdict, self._place.attribution(item.verdict.attribution)
        if made is None:
            return None
        shown = next((each for each in file.verdicts if each.track is not None), verdict)
        return Wanted(
            place=str(self._place.case().find_input(item).absolute()),
            output=str(output.absolute()),
            sha256=str(file.sha256),
            kind=kind,
            time=_time(verdict if kind == "face" else shown),
            interval=made.frame_interval,
            box=verdict.box if kind == "face" else None,
            size=made.store_size,
            fit=made.fit,
        )


def _time(verdict: Verdict) -> float | None:
    """Of the frame that a verdict of a video shows."""
    return None if verdict.track is None else verdict.track.shown
