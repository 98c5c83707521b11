"""What is to be done, in ``jobs.sqlite3`` of the case: it survives a restart.

When a method that adds or ends something returns, that is on the disk. What is being worked on is
not noted: after a kill it waits again.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.serve.uploads import RefusedError, Upload

FILE = "jobs.sqlite3"
Kind = Literal["attribute", "discover", "report", "promote", "rescan"]
State = Literal["waiting", "running", "done", "failed"]
_VERSION = 1
_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, state TEXT NOT NULL,
    created TEXT NOT NULL, who TEXT NOT NULL, note TEXT NOT NULL, arguments TEXT NOT NULL
) STRICT;
CREATE TABLE tasks (
    job TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
    sha256 TEXT NOT NULL, num_bytes INTEGER NOT NULL, state TEXT NOT NULL, error TEXT,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting ON tasks (state) WHERE state = 'waiting';
PRAGMA user_version = 1;
"""


class TaskState(Settings):
    """A file of a job."""

    name: str
    sha256: str
    state: State
    error: str | None = None
    """Why it failed."""


class JobState(Settings):
    """Something that takes a while."""

    id: str
    kind: Kind
    state: State
    created: str
    """UTC, ISO 8601."""
    who: str
    num_files: int
    num_done: int
    """Files done or failed."""
    note: str = ""
    """Of a command: its last line of output; of a failed job: why."""
    files: tuple[TaskState, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "failed")


class Task(NamedTuple):
    """A file that waits."""

    job: str
    number: int  # among the files of its job
    who: str
    name: str
    file: str  # below ``uploads``
    sha256: str
    num_bytes: int

    @property
    def tag(self) -> str:
        """What the case's journal says of it: ``job:<id>/<number>``."""
        return f"job:{self.job}/{self.number}"


class Command(NamedTuple):
    """A command that waits."""

    job: str
    kind: Kind
    who: str
    arguments: tuple[str, ...]


class Ended(NamedTuple):
    """What became of a file."""

    task: Task
    error: str | None = None


class Jobs:
    """The jobs of a case; used by several threads.

    Args:
        folder: Of the case.

    Raises:
        UserError: The file cannot be read or written, or is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock, self._read_lock = threading.Lock(), threading.Lock()
        try:
            self._file, self._reading = self._connect(), self._connect()
            self._prepare()
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path}: cannot be used ({error}); move it away, and what waited is forgotten"
            ) from None

    def _connect(self) -> sqlite3.Connection:
        """A connection: one writes, and reading by another does not wait for the disk."""
        return sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._file.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        elif version != _VERSION:
            raise UserError(
                f"{self.path}: is of version {version}, this version of owdfa reads {_VERSION};"
                " use the version that wrote it, or move it away"
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._read_lock:
            self._file.close()
            self._reading.close()

    def add_files(self, files: Sequence[Upload], who: str) -> list[Task]:
        """Add files to attribute, as a job."""
        id_ = secrets.token_hex(8)
        tasks = [
            Task(id_, number, who, each.name, each.path.name, each.sha256, each.num_bytes)
            for number, each in enumerate(files)
        ]
        with self._writing() as file:
            self._add(file, id_, "attribute", who, ())
            file.executemany(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, 'waiting', NULL)",
                [(x.job, x.number, x.name, x.file, x.sha256, x.num_bytes) for x in tasks],
            )
        return tasks

    def add_command(self, kind: Kind, arguments: Sequence[str], who: str) -> Command:
        """Add a command, as a job."""
        made = Command(secrets.token_hex(8), kind, who, tuple(arguments))
        with self._writing() as file:
            self._add(file, made.job, kind, who, made.arguments)
        return made

    def end(self, found: Iterable[Ended]) -> list[str]:
        """Say what became of files.

        Returns:
            The jobs whose last file that was.
        """
        jobs, ended = set(), []
        with self._writing() as file:
            for task, error in found:
                state = "done" if error is None else "failed"
                file.execute(
                    "UPDATE tasks SET state = ?, error = ? WHERE job = ? AND number = ?",
                    (state, error, task.job, task.number),
                )
                jobs.add(task.job)
            for job in jobs:
                counts = self._counts(file, [job])[job]
                if counts.done + counts.failed == counts.total:
                    state = "done" if counts.done else "failed"
                    note = "" if counts.done else "no file could be used"
                    self._set(file, job, state, note)
                    ended.append(job)
        return ended

    def end_command(self, job: str, state: State, note: str) -> None:
        """Say what became of a command."""
        with self._writing() as file:
            self._set(file, job, state, note)

    def waiting(self) -> list[Task]:
        """The files that wait, in order."""
        query = """
            SELECT job, tasks.number, who, name, file, sha256, num_bytes
            FROM tasks JOIN jobs ON jobs.id = tasks.job WHERE tasks.state = 'waiting'
            ORDER BY jobs.number, tasks.number
        """
        return [Task(*row) for row in self._rows(query)]

    def commands(self) -> list[Command]:
        """The commands that wait, in order."""
        query = """
            SELECT id, kind, who, arguments FROM jobs
            WHERE state = 'waiting' AND kind != 'attribute' ORDER BY number
        """
        return [
            Command(job, kind, who, tuple(json.loads(arguments)))
            for job, kind, who, arguments in self._rows(query)
        ]

    def job(self, id_: str, running: "frozenset[str]" = frozenset()) -> JobState | None:
        """A job with its files.

        Args:
            id_: Of the job.
            running: Tags of files, and ids of commands, that are being worked on.
        """
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", (id_,))
        if not rows:
            return None
        tasks = self._rows(
            "SELECT name, sha256, state, error, number FROM tasks WHERE job = ? ORDER BY number",
            (id_,),
        )
        files = tuple(
            TaskState(
                name=name, sha256=sha256, error=error,
                state=_now(state, f"job:{id_}/{number}" in running),
            )
            for name, sha256, state, error, number in tasks
        )  # fmt: skip
        done, failed = (sum(x.state == state for x in files) for state in ("done", "failed"))
        counts = _Counts(done, failed, len(files))
        return _state(rows[0], counts, running).model_copy(update={"files": files})

    def jobs(self, limit: int, running: "frozenset[str]" = frozenset()) -> list[JobState]:
        """The last jobs, without their files, the newest first."""
        rows = self._rows("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (limit,))
        with self._read_lock:
            counts = self._counts(self._reading, [row[1] for row in rows])
        return [_state(row, counts[row[1]], running) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block ends, or nothing.

        Raises:
            RefusedError: It cannot be written.
        """
        try:
            with self._lock:
                self._file.execute("BEGIN IMMEDIATE")
                try:
                    yield self._file
                except BaseException:
                    self._file.execute("ROLLBACK")
                    raise
                self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise RefusedError(
                507, f"{self.path}: cannot be written ({error}); make room on the disk"
            ) from None

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            return self._reading.execute(query, values).fetchall()

    def _add(
        self, file: sqlite3.Connection, id_: str, kind: Kind, who: str, arguments: Sequence[str]
    ) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.execute(
            "INSERT INTO jobs VALUES (NULL, ?, ?, 'waiting', ?, ?, '', ?)",
            (id_, kind, now, who, json.dumps(list(arguments))),
        )

    def _set(self, file: sqlite3.Connection, job: str, state: str, note: str) -> None:
        file.execute("UPDATE jobs SET state = ?, note = ? WHERE id = ?", (state, note, job))

    def _counts(self, file: sqlite3.Connection, jobs: Sequence[str]) -> "dict[str, _Counts]":
        """Files of jobs: done, failed, all."""
        query = """
            SELECT total(state = 'done'), total(state = 'failed'), count(*) FROM tasks WHERE job = ?
        """
        found = {}
        for job in jobs:
            done, failed, total = map(int, file.execute(query, (job,)).fetchone())
            found[job] = _Counts(done, failed, total)
        return found


class _Counts(NamedTuple):
    """Files of a job."""

    done: int
    failed: int
    total: int


def _state(row: tuple[Any, ...], counts: _Counts, running: frozenset[str]) -> JobState:
    _, id_, kind, state, created, who, note, _ = row
    ended = counts.done + counts.failed
    is_running = ended > 0 or id_ in running or any(x.startswith(f"job:{id_}/") for x in running)
    return JobState.model_validate(
        {
            "id": id_, "kind": kind, "created": created, "who": who, "note": note,
            "state": _now(state, is_running),
            "num_files": counts.total, "num_done": ended,
        }
    )  # fmt: skip


def _now(state: str, is_running: bool) -> State:
    """The state now of what was noted as waiting, done or failed."""
    return cast(State, "running" if state == "waiting" and is_running else state)
