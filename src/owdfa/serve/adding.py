"""What workers said becomes verdicts of the case, in the order of a journal that has each once.

The journal names the file of the job that a verdict is of. After a kill between the journal and the
job the verdict is found there, and is not made again.
"""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import anyio.to_thread
import numpy as np

from owdfa.case import ATTRIBUTED, Attributed, Case
from owdfa.errors import UserError
from owdfa.files import atomic
from owdfa.images.features import FEATURES
from owdfa.inference.embeddings import PART, add_embeddings
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.runs.lock import writing
from owdfa.serve.jobs import Ended, Jobs, Task
from owdfa.serve.place import Place
from owdfa.serve.uploads import FOLDER

_BACKLOG = 256  # results that wait for the case, from which on no more are made
_QUIET = 2.0  # seconds without a result after which embeddings are kept
_PAUSES = (0.2, 1.0, 5.0, 15.0)  # seconds before the case is tried again
_NOTED = "owdfa serve"


@dataclass(frozen=True, eq=False)
class Result:
    """What a worker said of a file, or why it said nothing."""

    task: Task
    attribution: Attribution
    verdict: FileVerdict | None = None
    error: str | None = None


@dataclass
class _Embeddings:
    """Embeddings that are not in the case yet."""

    digest: str = ""
    rows: dict[str, np.ndarray] = field(default_factory=dict)


class Adding:
    """Adds results to the case as they come.

    Args:
        place: The case.
        jobs: Where files are noted as done.
        on_added: Called with the tasks whose results were added.
    """

    def __init__(
        self, place: Place, jobs: Jobs, on_added: Callable[[Sequence[Task]], None]
    ) -> None:
        self._place, self._jobs, self._on_added = place, jobs, on_added
        self._results: deque[Result] = deque()
        self._new = asyncio.Event()
        self._embeddings = _Embeddings()
        self._deleting: set[asyncio.Future[None]] = set()
        self.problem = ""
        """Why verdicts cannot be added to the case at the moment."""
        self.features = asyncio.Lock()
        """Held by who writes embeddings to the case."""

    @property
    def is_full(self) -> bool:
        """Whether so many results wait that no more should be made."""
        return len(self._results) >= _BACKLOG

    def put(self, results: Iterable[Result]) -> None:
        """Have results added."""
        self._results.extend(results)
        self._new.set()

    def put_embeddings(self, digest: str, rows: Mapping[str, np.ndarray]) -> None:
        """Have embeddings kept, for ``discover``.

        Args:
            digest: Of what makes them.
            rows: By the SHA-256 of the file.
        """
        self._embeddings.digest = digest
        self._embeddings.rows |= rows

    async def write(self) -> None:
        """Add results to the case as they come, until cancelled."""
        tidy = False
        while True:
            try:
                async with asyncio.timeout(None if tidy else _QUIET):
                    await self._new.wait()
            except TimeoutError:
                await self.tidy()
                tidy = True
                continue
            self._new.clear()
            tidy = False
            for pause in _endless(_PAUSES):
                try:
                    await self._write_all()
                    self.problem = ""
                    break
                except UserError as error:
                    self.problem = str(error)
                    self._on_added([])
                    await asyncio.sleep(pause)

    async def tidy(self) -> None:
        """Keep the embeddings that there are, and end what is under way."""
        await asyncio.gather(*self._deleting, return_exceptions=True)
        await self.keep_embeddings()

    async def _write_all(self) -> None:
        """Add what there is to the case.

        Raises:
            UserError: The case cannot be written; what was not added is still there.
        """
        while self._results:
            results = list(self._results)
            done = await anyio.to_thread.run_sync(self._add, results)
            for each in done:
                self._results.remove(each)
            self._on_added([each.task for each in done])
            deleting = asyncio.ensure_future(anyio.to_thread.run_sync(self._delete, done))
            self._deleting.add(deleting)
            deleting.add_done_callback(self._deleting.discard)
            if len(self._embeddings.rows) >= PART:
                await self.keep_embeddings()

    def _add(self, results: list[Result]) -> list[Result]:
        """Add results to the case, by who sent them; return those that were added.

        Raises:
            UserError: None was added.
        """
        results = sorted(results, key=_group)  # stable: files of a job stay in order
        done: list[Result] = []
        with self._place.writing() as case:
            for _, some in groupby(results, key=_group):
                part = list(some)
                try:
                    self._add_part(case, part)
                except UserError:
                    if not done:
                        raise
                    break
                done += part
        self._jobs.end(Ended(each.task, each.error) for each in done)
        return done

    def _delete(self, done: Sequence[Result]) -> None:
        """Delete uploads that are among the inputs of the case; after a kill, the next start."""
        for each in done:
            self._upload_of(each.task).unlink(missing_ok=True)

    def _add_part(self, case: Case, part: Sequence[Result]) -> None:
        """Add the results of one sender."""
        found = [
            Attributed(each.verdict, self._place_of(case, each.task, each.verdict))
            for each in part
            if each.verdict is not None
        ]
        if found:
            tags = (each.task.tag for each in part if each.verdict is not None)
            case.add(
                found, part[0].attribution, command=[*_NOTED.split(), *tags], copy=True,
                who=part[0].task.who,
            )  # fmt: skip

    def _place_of(self, case: Case, task: Task, verdict: FileVerdict) -> Path:
        """Put an upload among the inputs of the case, where its copy belongs."""
        target, upload = case.copy_of(verdict), self._upload_of(task)
        if verdict.sha256 is None:  # nothing of it can be read, and no copy is kept
            return upload
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(upload, target)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                with atomic(target) as temporary:
                    shutil.copyfile(upload, temporary)
        return target

    def _upload_of(self, task: Task) -> Path:
        return self._place.folder / FOLDER / task.file

    async def keep_embeddings(self) -> None:
        """Put embeddings into the case; where another does so, later. They can be made again."""
        if not self._embeddings.rows or self.features.locked():
            return
        made, self._embeddings = self._embeddings, _Embeddings()
        async with self.features:
            with suppress(UserError):
                await anyio.to_thread.run_sync(self._add_embeddings, made)

    def _add_embeddings(self, made: _Embeddings) -> None:
        with writing(self._place.folder / FEATURES):
            add_embeddings(self._place.folder, made.digest, made.rows)


def _group(result: Result) -> tuple[str, str]:
    digest = "" if result.verdict is None else result.verdict.attribution
    return result.task.who, digest


def noted(case: Case) -> set[str]:
    """Tags of the files that the journal has verdicts of."""
    found: set[str] = set()
    for entry in case.entries:
        if entry.what == ATTRIBUTED and entry.data["command"].startswith(_NOTED):
            found.update(entry.data["command"].split()[2:])
    return found


def _endless(pauses: Sequence[float]) -> Iterable[float]:
    yield from pauses
    while True:
        yield pauses[-1]
