"""Files that wait are given to workers, those of all jobs in turn, and their answers taken.

    taken from the jobs that wait -> a worker -> ``adding.py``: the case's journal -> the job

Files that a worker does not survive are tried again, each alone, to find the one that it was.
"""

import asyncio
import base64
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from owdfa.attribution.subjects import Subject, problem
from owdfa.attribution.verdicts import not_applicable
from owdfa.images.video import is_video
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.serve.adding import Adding, Result, noted
from owdfa.serve.jobs import Ended, Jobs, Task
from owdfa.serve.place import Place
from owdfa.serve.pool import ENDED, LATE, MEMORY, Answer, Opened, Work, WorkerError
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import FOLDER

_MOST_FILES, _MOST_BYTES = 16, 8 * 2**20  # that a worker is given together
_MOST_TRIES = 3  # of a file that ends its worker


@dataclass
class _Waiting:
    """A file that waits, and what became of it so far."""

    task: Task
    tries: int = 0
    is_video: bool | None = None  # None: was not looked at


class Attributing:
    """The files that wait, and what becomes of them.

    Args:
        place: The case.
        jobs: Where they are noted.
        settings: Limits.
        on_change: Called with jobs of which something has changed.
    """

    def __init__(
        self,
        place: Place,
        jobs: Jobs,
        settings: ServeSettings,
        on_change: Callable[[Iterable[str]], None],
    ) -> None:
        self._place, self._jobs, self._settings = place, jobs, settings
        self._on_change = on_change
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._again: deque[_Waiting] = deque()  # those that are tried alone
        self._ends: set[asyncio.Task[None]] = set()
        self.adding = Adding(place, jobs, self._added)
        self.running: dict[str, Task] = {}
        """By their tags, those that a worker has, or that are to be added to the case."""
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
        found = noted(self._place.case()) if waiting else set()
        done = [task for task in waiting if task.tag in found]
        if done:
            self._jobs.end(map(Ended, done))
        self._sweep(waiting, done)
        return [task for task in waiting if task.tag not in found]

    def _sweep(self, waiting: Sequence[Task], done: Sequence[Task]) -> None:
        """Delete files that nothing waits for: those of a request that a kill cut off, too."""
        wanted = {task.file for task in waiting} - {task.file for task in done}
        folder = self._place.folder / FOLDER
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in wanted:
                path.unlink()

    def take(self, opened: Opened) -> Work | None:
        """Some files for a worker."""
        if opened.attribution is None or self.adding.is_full:
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
        end = asyncio.create_task(self._end(batch, answered, opened.attribution))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        self._on_change({each.task.job for each in batch})
        return Work(request, seconds, answered)

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
        self.adding.put_embeddings(str(opened.embedding), rows)
        self.adding.put(results)

    def _fail(self, batch: list[_Waiting], made: Attribution, reason: str, *, final: bool) -> None:
        """Try files again, each alone; of one that fails alone too, say so."""
        alone = len(batch) == 1
        for each in batch:
            each.tries += 1
            if alone and (final or each.tries >= _MOST_TRIES):
                self.adding.put([_given_up(each, made, reason, self._settings)])
            else:
                self.running.pop(each.task.tag, None)
                self._again.append(each)
        self.wake()

    def _added(self, tasks: Sequence[Task]) -> None:
        """Files are done; where none are, the case cannot be written."""
        for each in tasks:
            self.running.pop(each.tag, None)
        self._on_change({each.job for each in tasks or self.running.values()})
        self.wake()


def _checked(task: Task, made: Attribution, verdict: FileVerdict) -> Result:
    """A result, if the verdict is of what was sent."""
    if verdict.sha256 is None:
        return Result(task, made, verdict, verdict.outcome.detail)
    if verdict.sha256 != task.sha256:
        return Result(task, made, None, "the file has changed on the disk; send it again")
    return Result(task, made, verdict)


def _given_up(waiting: _Waiting, made: Attribution, reason: str, settings: ServeSettings) -> Result:
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
        return Result(task, made, None, reason)
    return Result(task, made, _undecodable(task, made, detail))


def _undecodable(task: Task, made: Attribution, detail: str) -> FileVerdict:
    """The verdict of a file that no worker survives."""
    subject = Subject(None, None, None, None, problem("undecodable", detail))
    verdict = not_applicable(subject)
    return FileVerdict(
        path=task.name, sha256=task.sha256, num_bytes=task.num_bytes, format=None, width=None,
        height=None, jpeg_quality=None, verdicts=(verdict,), attribution=made.digest,
    )  # fmt: skip
