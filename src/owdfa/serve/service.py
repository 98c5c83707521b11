"""The work behind pages and API: files become verdicts of the case, by workers.

What ``submit`` acknowledged is on the disk, and is done even if this process or a worker is killed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request

from owdfa.errors import UserError
from owdfa.images.workers import num_processes
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.runs.lock import BusyError, writing
from owdfa.serve.attributing import Attributing
from owdfa.serve.commands import Outcome, check_arguments, run_command
from owdfa.serve.drawing import Kind as Picture
from owdfa.serve.jobs import FILE, Command, Jobs, JobState, Kind, TaskState
from owdfa.serve.pictures import Pictures
from owdfa.serve.place import Place
from owdfa.serve.pool import Answer, Asks, Opened, Pool, Work, WorkerError
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import FOLDER, RefusedError, Upload, receive

__all__ = ["JobState", "Kind", "Picture", "Service", "TaskState", "Upload"]

_ASK_SECONDS = 600.0  # for a model card, that reads a split
_MAX_WHO = 80


class Service:
    """The work behind a place.

    Args:
        place: The case, and the run that gives its verdicts.
        settings: Limits, and the number of workers.
    """

    def __init__(self, place: Place, settings: ServeSettings) -> None:
        self.place, self.settings = place, settings
        self._asks, self._draws = Asks(_ASK_SECONDS), Asks(settings.task_seconds)
        self._pictures = Pictures(place, self._draws)
        self._jobs: Jobs | None = None
        self._attributing: Attributing | None = None
        self._lock = ExitStack()  # held as long as this process does the jobs of the case
        self._beginning = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._commands: deque[Command] = deque()
        self._command_added = asyncio.Event()
        self._running: str | None = None  # the job of the command that runs
        self._changed: dict[str, asyncio.Event] = {}
        self._card: dict[str, object] | None = None
        sources = (self._asks.take, self._draws.take, self._take_files)
        self.pool = Pool(
            place.run, num_processes(settings.workers), settings.worker_memory, sources
        )
        self._asks.wake = self._draws.wake = self.pool.wake

    async def start(self) -> None:
        """Start workers, and go on with what was left; the app does it when it starts."""
        self.pool.start()
        if self.place.begun and (self.place.folder / FILE).exists():
            with suppress(UserError):  # who submits something is told
                await self._begun()

    async def stop(self) -> None:
        """End the workers; what waits stays for the next start."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.stop()
        if self._attributing is not None:
            await self._attributing.adding.tidy()
        if self._jobs is not None:
            self._jobs.close()
        self._lock.close()

    async def receive(self, request: Request) -> list[Upload]:
        """Write the files of a request to the case's folder; ``submit`` takes them from there.

        Raises:
            RefusedError: They are too large, too many, or of another kind.
            UserError: Nothing here gives verdicts, or too many files wait.
        """
        await self._check_open()
        return await receive(request, self.place.folder / FOLDER, self.settings)

    async def submit(self, files: Sequence[Upload], who: str) -> JobState:
        """Take files to attribute; when this returns, they are on the disk.

        Args:
            files: What ``receive`` returned.
            who: Who sends them, for the journal.

        Raises:
            UserError: Nothing here gives verdicts, or too many files wait.
        """
        jobs, attributing = await self._check_open()
        try:
            if attributing.num_waiting + len(files) > self.settings.max_waiting:
                raise RefusedError(
                    503, f"{attributing.num_waiting:,} files wait; send these when some are done"
                )
            tasks = await anyio.to_thread.run_sync(jobs.add_files, files, _plain(who))
        except UserError:
            for each in files:
                each.path.unlink(missing_ok=True)
            raise
        attributing.add(tasks)
        found = self.job(tasks[0].job)
        assert found is not None
        return found

    async def command(self, kind: Kind, arguments: Sequence[str], who: str) -> JobState:
        """Start a long command, ``owdfa KIND ARGUMENTS``; one at a time runs.

        Args:
            kind: The command.
            arguments: What follows it, the case included, e.g. ``[str(place.folder), "--seed",
                "1"]``. One that begins with ``-`` must be a known option.
            who: Who asks for it, for the journal.

        Raises:
            UserError: An argument cannot be given.
        """
        check_arguments(arguments)
        jobs, _ = await self._begun()
        command = await anyio.to_thread.run_sync(jobs.add_command, kind, arguments, _plain(who))
        self._commands.append(command)
        self._command_added.set()
        found = self.job(command.job)
        assert found is not None
        return found

    def job(self, id_: str) -> JobState | None:
        """A job with its files; None where there is none of that id."""
        if self._jobs is None:
            return None
        return self._noted(self._jobs.job(id_, self._now_running()))

    def jobs(self, limit: int = 50) -> list[JobState]:
        """The last jobs, without their files, the newest first."""
        if self._jobs is None:
            return []
        return [self._noted(each) or each for each in self._jobs.jobs(limit, self._now_running())]

    async def watch(self, id_: str) -> AsyncIterator[JobState]:
        """A job as it goes on, until it is done or failed."""
        while True:
            changed = self._changed.setdefault(id_, asyncio.Event())
            found = await anyio.to_thread.run_sync(self.job, id_)
            if found is None or found.ended:
                self._changed.pop(id_, None)
            if found is None:
                return
            yield found
            if found.ended:
                return
            await changed.wait()

    async def wait(self, id_: str, seconds: float) -> JobState | None:
        """A job once it has ended, or as it is after some seconds; None where there is none."""
        try:
            async with asyncio.timeout(seconds):
                async for _ in self.watch(id_):
                    pass
        except TimeoutError:
            pass
        return self.job(id_)

    def verdict(self, sha256: str) -> FileVerdict | None:
        """The verdict of a file of the case, by its SHA-256."""
        item = self.place.item(sha256)
        return None if item is None else item.verdict

    async def attribution(self) -> Attribution | None:
        """What the run's verdicts rest on, as a worker says; None where there is no run.

        Raises:
            UserError: The run gives no verdicts.
        """
        return (await self._opened()).attribution

    async def card(self) -> dict[str, object] | None:
        """The model card of the run (``stages.evidence.card.ModelCard``), as a worker says.

        Raises:
            UserError: The run gives no verdicts.
        """
        if self._card is None and (await self._opened()).attribution is not None:
            answer = await _answer(self._asks, {"do": "card"})
            self._card = answer.value["card"]
        return self._card

    async def picture(self, sha256: str, kind: Picture, number: int = 0) -> Path | None:
        """A JPEG of a file of the case, made once by a worker and kept in the case.

        Args:
            sha256: The file.
            kind: ``thumb`` (128 px, the longest side), ``overview`` (960 px), or ``face``: what
                the network saw of verdict ``number`` (224 px).
            number: Of the verdict.

        Returns:
            Where it is; None where there is none: the file is gone, changed, or no image.
        """
        item = await anyio.to_thread.run_sync(self.place.item, sha256)
        return None if item is None else await self._pictures.find(item, kind, number)

    async def _opened(self) -> Opened:
        """What the workers opened.

        Raises:
            UserError: The run gives no verdicts.
        """
        opened = await self.pool.opened()
        if opened.problem is not None:
            raise UserError(f"{opened.problem}; then start owdfa serve again")
        return opened

    async def _check_open(self) -> tuple[Jobs, Attributing]:
        """What takes files.

        Raises:
            UserError: Nothing here gives verdicts.
        """
        if (await self._opened()).attribution is None:
            raise UserError(
                f"{self.place.folder}: no run is served that gives verdicts; start owdfa serve with"
                " --run RUN"
            )
        return await self._begun()

    async def _begun(self) -> tuple[Jobs, Attributing]:
        """The jobs of the case, which is begun where it was not.

        Raises:
            UserError: Another server has them, or the folder cannot be written.
        """
        async with self._beginning:
            if self._jobs is None or self._attributing is None:
                self._jobs = await anyio.to_thread.run_sync(self._open_jobs)
                self._attributing = Attributing(
                    self.place, self._jobs, self.settings, self._say_changed
                )
                self._attributing.wake = self.pool.wake
                left = await anyio.to_thread.run_sync(self._attributing.recover)
                self._attributing.add(left)
                self._commands.extend(self._jobs.commands())
                self._command_added.set()
                work = (self._attributing.adding.write(), self._run_commands(self._jobs))
                self._tasks = [asyncio.create_task(each) for each in work]
            return self._jobs, self._attributing

    def _open_jobs(self) -> Jobs:
        self.place.begin()
        uploads = self.place.folder / FOLDER
        uploads.mkdir(exist_ok=True)
        try:
            self._lock.enter_context(writing(uploads))
        except BusyError:
            raise UserError(
                f"{self.place.folder}: another owdfa serve does the work of this case; ask that one"
            ) from None
        return Jobs(self.place.folder)

    def _take_files(self, opened: Opened) -> Work | None:
        return None if self._attributing is None else self._attributing.take(opened)

    async def _run_commands(self, jobs: Jobs) -> None:
        """Run the commands that wait, one after the other, until cancelled."""
        while True:
            self._command_added.clear()
            while self._commands:
                command = self._commands.popleft()
                self._running = command.job
                self._say_changed([command.job])
                made = await self._run_command(command)
                await anyio.to_thread.run_sync(
                    jobs.end_command, command.job, "done" if made.done else "failed", made.note
                )
                self._running = None
                self._say_changed([command.job])
            await self._command_added.wait()

    async def _run_command(self, command: Command) -> Outcome:
        """Run a command; embeddings are not written meanwhile: ``discover`` does."""
        assert self._attributing is not None
        await self._attributing.adding.keep_embeddings()
        async with self._attributing.adding.features:
            return await run_command(command)

    def _now_running(self) -> frozenset[str]:
        files = () if self._attributing is None else tuple(self._attributing.running)
        return frozenset((*files, *((self._running,) if self._running else ())))

    def _noted(self, job: JobState | None) -> JobState | None:
        """A job with why it does not go on, where it does not."""
        problem = "" if self._attributing is None else self._attributing.adding.problem
        if job is None or job.ended or job.kind != "attribute" or not problem:
            return job
        return job.model_copy(update={"note": problem})

    def _say_changed(self, jobs: Iterable[str]) -> None:
        for each in jobs:
            changed = self._changed.pop(each, None)
            if changed is not None:
                changed.set()


async def _answer(asks: Asks, request: dict[str, object]) -> Answer:
    """A worker's answer.

    Raises:
        UserError: It did not give one.
    """
    try:
        return await asks.ask(request)
    except WorkerError as error:
        raise UserError(f"{error}; try again") from None


def _plain(who: str) -> str:
    """A name for the record: on one line, and not long."""
    return " ".join("".join(x if x.isprintable() else " " for x in who).split())[:_MAX_WHO] or "-"
