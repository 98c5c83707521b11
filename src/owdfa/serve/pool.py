"""Worker processes, and what they are given to do: a line of JSON each way, one at a time.

Each worker takes from several sources in turn, so that ten thousand small pictures and a thousand
files to attribute do not wait for one another. One that takes too long is killed, and another is
started in its place.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from owdfa.records.verdict import Attribution

MEMORY = "memory"
"""The error of a worker that needed more than it may take."""
LATE, ENDED = "it took too long", "the worker process ended"
"""The errors of one that did not answer."""
_LINE = 2**28  # bytes of an answer: the tracks of a long video are some millions
_OPENING_SECONDS = 600.0  # PyTorch on a cold disk
_TURN_SECONDS = 0.25  # that a source has a worker for, where others wait: some pictures, a batch
_MOST_FAILURES = 3  # in a row, after which it is said that a run cannot be opened
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds before a worker that cannot start starts again
_PROCESS = {
    # glibc keeps what is freed, which saves an eighth of the time; the worker gives back the rest.
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
_SECRET = "OWDFA_TOKEN"  # noqa: S105  the name of a variable, that no other process needs


class WorkerError(Exception):
    """A worker did not answer: ``LATE`` or ``ENDED``."""


class Opened(NamedTuple):
    """What a worker says of the run that it opened."""

    problem: str | None  # why it gives no verdicts; None too where there is no run
    attribution: Attribution | None
    embedding: str | None  # digest of what makes its embeddings


class Answer(NamedTuple):
    """What a worker answered, and what that rests on."""

    value: dict[str, Any]
    opened: Opened


class Work(NamedTuple):
    """Something for a worker to do."""

    request: dict[str, Any]
    seconds: float  # that it may take
    answered: "asyncio.Future[Answer]"


Source = Callable[[Opened], Work | None]
"""What is to be done next, by a worker that opened this; None where nothing is."""


def child_environment() -> dict[str, str]:
    """Variables of a process that is started here: not the token."""
    return {name: value for name, value in os.environ.items() if name != _SECRET}


class Pool:
    """Some workers.

    Args:
        run: What gives verdicts; None to draw alone.
        num_workers: Number of processes.
        memory: Bytes that each may take for what it is given.
        sources: What there is to do; ``wake`` says that there is more.
    """

    def __init__(
        self, run: Path | None, num_workers: int, memory: int, sources: Sequence[Source]
    ) -> None:
        self._begin = {
            "run": None if run is None else str(run.absolute()),
            "cores": os.cpu_count() or 1,
            "memory": memory,
        }
        self._num_workers, self._sources = num_workers, tuple(sources)
        self._tasks: list[asyncio.Task[None]] = []
        self._more = asyncio.Event()
        self._opened: asyncio.Future[Opened] | None = None
        self.pids: set[int] = set()
        """Of the workers that there are."""

    def start(self) -> None:
        """Start the workers; they are ready after a while."""
        self._opened = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._work(n)) for n in range(self._num_workers)]

    async def stop(self) -> None:
        """End the workers, whatever they are doing."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._opened is not None:
            self._opened.cancel()

    def wake(self) -> None:
        """Say that a source has something to do."""
        self._more.set()

    async def opened(self) -> Opened:
        """What the workers opened, once one of them did."""
        assert self._opened is not None
        return await asyncio.shield(self._opened)

    async def _work(self, first: int) -> None:
        """Keep a worker busy, and start another where it ends."""
        failures = 0
        turn = _Turn(len(self._sources), first)
        while True:
            try:
                worker = await _Process.start(self._begin)
            except OSError:  # of processes or memory there is none left
                await asyncio.sleep(_LONGEST_PAUSE)
                continue
            self.pids.add(worker.pid)
            try:
                opened = await worker.open()
                self._say_opened(opened)
                failures = 0
                while True:
                    work = await self._next(worker, turn, opened)
                    with turn:
                        await _do(worker, work)
            except WorkerError as error:
                if worker.opened is None:
                    failures += 1
                    if failures >= _MOST_FAILURES:
                        reason = f"{self._begin['run']}: {error} while it was opened"
                        self._say_opened(Opened(reason, None, None))
                    await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE))
            finally:
                self.pids.discard(worker.pid)
                await worker.kill()

    def _say_opened(self, opened: Opened) -> None:
        """Tell who waits; what a later worker opened takes the place of a problem."""
        assert self._opened is not None
        if self._opened.done() and self._opened.result().attribution is None:
            self._opened = asyncio.get_running_loop().create_future()
        if not self._opened.done():
            self._opened.set_result(opened)

    async def _next(self, worker: "_Process", turn: "_Turn", opened: Opened) -> Work:
        """What is to be done next.

        Raises:
            WorkerError: The worker ended, with nothing to do.
        """
        while True:
            if worker.ended.done():
                raise WorkerError(ENDED)
            self._more.clear()
            for place in turn.order():
                work = self._sources[place](opened)
                if work is not None:
                    turn.take(place)
                    self._more.set()  # others may find more
                    return work
            more = asyncio.ensure_future(self._more.wait())
            await asyncio.wait({more, worker.ended}, return_when=asyncio.FIRST_COMPLETED)
            more.cancel()


class _Turn:
    """Whose turn it is: a source keeps it until it has used some time.

    Args:
        num: Number of sources.
        first: Whose turn is the first, or of which source after the last.
    """

    def __init__(self, num: int, first: int) -> None:
        self._num, self._place, self._used, self._start = num, first % num, 0.0, 0.0

    def order(self) -> list[int]:
        """Sources in the order in which they are asked."""
        if self._used >= _TURN_SECONDS:
            self._place, self._used = self._place + 1, 0.0
        return [(self._place + step) % self._num for step in range(self._num)]

    def take(self, place: int) -> None:
        """A source has something to do."""
        if place != self._place:
            self._place, self._used = place, 0.0

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._used += time.monotonic() - self._start


async def _do(worker: "_Process", work: Work) -> None:
    """Give a worker something to do, and its answer to who asked.

    Raises:
        WorkerError: It did not answer; who asked knows.
    """
    try:
        answer = await worker.ask(work.request, work.seconds)
    except WorkerError as error:
        if not work.answered.done():
            work.answered.set_exception(error)
        raise
    except asyncio.CancelledError:
        work.answered.cancel()
        raise
    if not work.answered.done():
        work.answered.set_result(answer)


class _Process:
    """A worker process."""

    def __init__(self, process: asyncio.subprocess.Process, begin: dict[str, Any]) -> None:
        self._process, self._begin = process, begin
        self.pid = process.pid
        self.ended = asyncio.ensure_future(process.wait())
        self.opened: Opened | None = None

    @classmethod
    async def start(cls, begin: dict[str, Any]) -> "_Process":
        """Start one."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "owdfa.serve.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE,
            env={**child_environment(), **_PROCESS},
        )  # fmt: skip
        return cls(process, begin)

    async def open(self) -> Opened:
        """Let it open the run.

        Raises:
            WorkerError: It ended.
        """
        told = await self._within(_OPENING_SECONDS, self._exchange(self._begin))
        found = told.get("attribution")
        attribution = None if found is None else Attribution.model_validate_json(found)
        self.opened = Opened(told["problem"], attribution, told.get("embedding"))
        return self.opened

    async def ask(self, request: dict[str, Any], seconds: float) -> Answer:
        """Its answer to a request.

        Raises:
            WorkerError: It took too long, or ended.
        """
        assert self.opened is not None
        return Answer(await self._within(seconds, self._exchange(request)), self.opened)

    async def _within(self, seconds: float, told: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                return await told
        except TimeoutError:
            raise WorkerError(LATE) from None

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
            told: dict[str, Any] = json.loads(await self._process.stdout.readline())
            return told
        except (OSError, ValueError):  # of its input, and of an answer that is torn or too long
            raise WorkerError(ENDED) from None

    async def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()  # to the end, so that its pipes are closed


class Asks:
    """A source of single requests, each of which waits for its answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._waiting = seconds, deque[Work]()
        self.wake: Callable[[], None] = lambda: None

    def take(self, _: Opened) -> Work | None:
        """The next one that is still wanted."""
        while self._waiting:
            work = self._waiting.popleft()
            if not work.answered.done():
                return work
        return None

    async def ask(self, request: dict[str, Any]) -> Answer:
        """A worker's answer.

        Raises:
            WorkerError: It took too long, or ended.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(Work(request, self._seconds, answered))
        self.wake()
        return await answered
