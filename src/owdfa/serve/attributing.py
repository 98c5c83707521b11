"""Files that wait become verdicts of the case, each once.

    taken from the jobs that wait in turn -> a worker -> the case's journal -> the job

The journal names the file of the job that a verdict is of. After a kill between the last two steps
the verdict is found there, and is not made again.
"""

import asyncio
import base64
import os
import shutil
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np

from owdfa.attribution.subjects import Subject, problem
from owdfa.attribution.verdicts import not_applicable
from owdfa.case import ATTRIBUTED, Attributed, Case
from owdfa.errors import UserError
from owdfa.files import atomic
from owdfa.images.features import FEATURES
from owdfa.images.video import is_video
from owdfa.inference.embeddings import PART, add_embeddings
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.runs.lock import writing
from owdfa.serve.jobs import Ended, Jobs, Task
from owdfa.serve.place import Place
from owdfa.serve.pool import ENDED, LATE, MEMORY, Answer, Opened, Work, WorkerError
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import FOLDER

_MOST_FILES, _MOST_BYTES = 16, 8 * 2**20  # that a worker is given together
_MOST_TRIES = 3  # of a file that ends its worker
_BACKLOG = 256  # results that wait for the case, from which on no more are made
_QUIET = 2.0  # seconds without a result after which embeddings are kept
_PAUSES = (0.2, 1.0, 5.0, 15.0)  # seconds before the case is tried again
_NOTED = "owdfa serve"


@dataclass
class _Waiting:
    """A file that waits, and what became of it so far."""

    task: Task
    tries: int = 0
    is_video: bool | None = None  # None: was not looked at


@dataclass(frozen=True, eq=False)
class _Result:
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


class Attributing:
    """The files that wait, and what becomes of them.

    Args:
        place: The case.
        jobs: Where they are noted.
        settings: Limits.
        on_end: Called with jobs of which something has changed.
    """

    def __init__(
        self,
        place: Place,
        jobs: Jobs,
        settings: ServeSettings,
        on_end: Callable[[Iterable[str]], None],
    ) -> None:
        self._place, self._jobs, self._settings = place, jobs, settings
        self._on_end = on_end
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._again: deque[_Waiting] = deque()  # those that are tried alone
        self._results: deque[_Result] = deque()
        self._new = asyncio.Event()
        self._embeddings = _Embeddings()
        self._beside: set[asyncio.Future[None]] = set()
        self.running: dict[str, Task] = {}
        """By their tags, those that a worker has."""
        self.problem = ""
        """Why verdicts cannot be added to the case at the moment."""
        self.features = asyncio.Lock()
        """Held by who writes embeddings to the case."""
        self.wake: Callable[[], None] = lambda: None

    @property
    def num_waiting(self) -> int:
        """Files that have no verdict yet."""
        waiting = sum(map(len, self._waiting.values())) + len(self._again)
        return waiting + len(self.running)

    def add(self, tasks: Iterable[Task]) -> None:
        """Let files wait."""
        for task in tasks:
            self._waiting.setdefault(task.job, deque()).append(_Waiting(task))
        self.wake()

    def recover(self) -> list[Task]:
        """What was left, to be added; what the journal has a verdict of is done."""
        waiting = self._jobs.waiting()
        noted = _noted(self._place.case()) if waiting else set()
        done = [task for task in waiting if task.tag in noted]
        if done:
            self._jobs.end(map(Ended, done))
        self._sweep(waiting, done)
        return [task for task in waiting if task.tag not in noted]

    def _sweep(self, waiting: Sequence[Task], done: Sequence[Task]) -> None:
        """Delete files that nothing waits for: those of a request that a kill cut off, too."""
        wanted = {task.file for task in waiting} - {task.file for task in done}
        folder = self._place.folder / FOLDER
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in wanted:
                path.unlink()

    def take(self, opened: Opened) -> Work | None:
        """Some files for a worker."""
        if opened.attribution is None or len(self._results) >= _BACKLOG:
            return None
        batch = self._batch()
        if not batch:
            return None
        self.running |= {each.task.tag: each.task for each in batch}
        folder = (self._place.folder / FOLDER).absolute()
        request = {
            "do": "attribute",
            "files": [(each.task.name, str(folder / each.task.file)) for each in batch],
        }
        moving = batch[0].is_video
        seconds = self._settings.video_seconds if moving else self._settings.task_seconds
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._go_on(self._end(batch, answered, opened.attribution))
        self._on_end({each.task.job for each in batch})
        return Work(request, seconds, answered)

    def _go_on(self, work: Awaitable[None]) -> None:
        """Do something beside."""
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _batch(self) -> list[_Waiting]:
        """Files of all jobs in turn; a video alone, and one that a worker did not survive."""
        if self._again:
            return [self._again.popleft()]
        batch: list[_Waiting] = []
        num_bytes = 0
        while self._waiting and len(batch) < _MOST_FILES:
            job, files = next(iter(self._waiting.items()))
            first = files[0]
            if first.is_video is None:
                first.is_video = is_video(self._place.folder / FOLDER / first.task.file)
            num_bytes += first.task.num_bytes
            if batch and (first.is_video or num_bytes > _MOST_BYTES):
                break
            batch.append(files.popleft())
            self._waiting.move_to_end(job)
            if not files:
                del self._waiting[job]
            if first.is_video:
                break
        return batch

    async def _end(
        self, batch: list[_Waiting], answered: "asyncio.Future[Answer]", made: Attribution
    ) -> None:
        """Take what a worker says of some files."""
        try:
            value, opened = await answered
            made = opened.attribution or made
            if "error" in value:
                self._fail(batch, made, str(value["error"]), final=True)
            else:
                self._keep(batch, made, value, opened)
        except WorkerError as error:
            self._fail(batch, made, str(error), final=str(error) == LATE)
        except (KeyError, TypeError, ValueError):
            self._fail(batch, made, "the worker process answered nonsense", final=False)

    def _keep(
        self, batch: list[_Waiting], made: Attribution, value: dict[str, Any], opened: Opened
    ) -> None:
        results = [
            _checked(each.task, made, FileVerdict.model_validate_json(text))
            for each, text in zip(batch, value["verdicts"], strict=True)
        ]
        rows = {
            sha256: np.frombuffer(base64.b64decode(text), "<f4")
            for sha256, text in value["embeddings"].items()
        }
        self._results += results
        self._embeddings.digest = str(opened.embedding)
        self._embeddings.rows |= rows
        self._new.set()

    def _fail(self, batch: list[_Waiting], made: Attribution, reason: str, *, final: bool) -> None:
        """Try files again, each alone; of one that fails alone too, say so."""
        alone = len(batch) == 1
        for each in batch:
            each.tries += 1
            if alone and (final or each.tries >= _MOST_TRIES):
                self._results.append(_given_up(each, made, reason, self._settings))
            else:
                self.running.pop(each.task.tag, None)
                self._again.append(each)
        self._new.set()
        self.wake()

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
                    self._on_end({each.task.job for each in self._results})
                    await asyncio.sleep(pause)

    async def tidy(self) -> None:
        """Keep the embeddings that there are."""
        await asyncio.gather(*self._beside, return_exceptions=True)
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
                self.running.pop(each.task.tag, None)
            self._on_end({each.task.job for each in done})
            self.wake()
            self._go_on(anyio.to_thread.run_sync(self._delete, done))
            if len(self._embeddings.rows) >= PART:
                await self.keep_embeddings()

    def _add(self, results: list[_Result]) -> list[_Result]:
        """Add results to the case, by who sent them; return those that were added.

        Raises:
            UserError: None was added.
        """
        results = sorted(results, key=_group)  # stable: files of a job stay in order
        done: list[_Result] = []
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

    def _delete(self, done: Sequence[_Result]) -> None:
        """Delete uploads that are among the inputs of the case; after a kill, the next start."""
        for each in done:
            self._upload_of(each.task).unlink(missing_ok=True)

    def _add_part(self, case: Case, part: Sequence[_Result]) -> None:
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


def _group(result: _Result) -> tuple[str, str]:
    digest = "" if result.verdict is None else result.verdict.attribution
    return result.task.who, digest


def _checked(task: Task, made: Attribution, verdict: FileVerdict) -> _Result:
    """A result, if the verdict is of what was sent."""
    if verdict.sha256 is None:
        return _Result(task, made, verdict, verdict.outcome.detail)
    if verdict.sha256 != task.sha256:
        return _Result(task, made, None, "the file has changed on the disk; send it again")
    return _Result(task, made, verdict)


def _given_up(
    waiting: _Waiting, made: Attribution, reason: str, settings: ServeSettings
) -> _Result:
    """The result of a file that no worker survives."""
    task = waiting.task
    if reason == MEMORY:
        detail = f"decoding it took more than {settings.worker_memory:,} bytes of memory"
    elif reason == LATE:
        seconds = settings.video_seconds if waiting.is_video else settings.task_seconds
        detail = f"decoding it took more than {seconds:g} s"
    elif reason == ENDED:
        detail = f"decoding it ended the worker process {waiting.tries} times"
    else:  # no fault of the file
        return _Result(task, made, None, reason)
    return _Result(task, made, _undecodable(task, made, detail))


def _undecodable(task: Task, made: Attribution, detail: str) -> FileVerdict:
    """The verdict of a file that no worker survives."""
    subject = Subject(None, None, None, None, problem("undecodable", detail))
    verdict = not_applicable(subject)
    return FileVerdict(
        path=task.name, sha256=task.sha256, num_bytes=task.num_bytes, format=None, width=None,
        height=None, jpeg_quality=None, verdicts=(verdict,), attribution=made.digest,
    )  # fmt: skip


def _noted(case: Case) -> set[str]:
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
