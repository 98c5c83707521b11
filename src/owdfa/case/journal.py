"""The journal of a case: lines that are only ever added, each with the hash of the line before.

A line is one JSON object in one fixed form: sorted keys, no spaces, ASCII. ``hash`` is the SHA-256
of that form without ``hash`` itself; ``previous`` is the ``hash`` of the line before. A line of
which any byte was changed therefore does not fit itself, and a line that was removed, moved or put
in leaves a gap. Whoever rewrites the whole file can make it fit again: against that helps only a
copy of the last hash elsewhere, such as the one that a report holds.

``seq`` is the order. ``time`` is what the clock said, and it may go backwards.

A line counts once its end is on the disk. What follows the last end of a line was torn by a crash
or by a full disk: nobody was told that it was done, and it is left aside.
"""

import getpass
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, final

from owdfa.errors import UserError
from owdfa.files import writing_error

FIRST = "0" * 64
"""What the first line has as the hash of the line before."""
_FIELDS = ("data", "hash", "previous", "seq", "time", "what", "who")


class Entry(NamedTuple):
    """A line of the journal."""

    seq: int  # 1, 2, ...
    time: str  # UTC, ISO 8601
    who: str
    what: str  # "created", "attributed", ...
    data: dict[str, Any]
    previous: str  # hash of the line before
    hash: str = ""


class Content(NamedTuple):
    """What a journal file holds.

    Attributes:
        entries: The lines that fit, in order.
        problems: Number of each line that does not, and why.
        torn: What follows the end of the last line.
        size: Bytes up to there.
    """

    entries: tuple[Entry, ...]
    problems: tuple[tuple[int, str], ...]
    torn: bytes
    size: int


NOTHING = Content((), (), b"", 0)
"""What a file holds that has no byte."""


def canonical(value: Any) -> str:
    """The one form of a value as JSON: sorted keys, no spaces, ASCII; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def current_user() -> str:
    """Who is at work, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have a number for a user, and no name
        return f"uid {os.getuid()}"


def parse(data: bytes, after: Content = NOTHING) -> Content:
    """Read a journal: every line is checked by itself and against the line before.

    Args:
        data: The file, from the end of the last line of ``after`` on.
        after: What was read of it before, without a problem.
    """
    *lines, torn = data.split(b"\n")
    entries = list(after.entries)
    problems: list[tuple[int, str]] = []
    previous: str | None = entries[-1].hash if entries else FIRST
    for number, line in enumerate(lines, start=len(entries) + 1):
        entry = _parse_line(line, entries[-1:])
        if entry is None:
            problems.append((number, "was altered: it does not have the hash that it states"))
            previous = None  # unknown: the next line is checked by itself alone
            continue
        if previous is not None and entry.previous != previous:
            problems.append((number, "does not follow the line before: one was removed or altered"))
        elif entry.seq != number:
            problems.append((number, f"is numbered {entry.seq}: a line was removed or put in"))
        else:
            entries.append(entry)
        previous = entry.hash
    size = after.size + len(data) - len(torn)
    return Content(tuple(entries), tuple(problems), torn, size)


def clock_notes(entries: tuple[Entry, ...]) -> list[str]:
    """A sentence for each line whose time is before that of the line before."""
    notes = []
    for before, entry in pairwise(entries):
        lag = datetime.fromisoformat(before.time) - datetime.fromisoformat(entry.time)
        if lag.total_seconds() > 0:
            notes.append(
                f"line {entry.seq}: its time is {lag.total_seconds():,.0f} s before that of line"
                f" {before.seq}: the clock went backwards; the order is that of the lines"
            )
    return notes


@final
class Journal:
    """A journal file; who appends holds the lock of its folder. Threads may share it.

    Args:
        path: The file; there need not be one yet.

    Raises:
        UserError: A line was altered, or the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = NOTHING
        self._lock = threading.RLock()  # of ``content``: none is put back that was read before
        self.reload()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Its lines."""
        return self.content.entries

    @property
    def head(self) -> str:
        """Hash of the last line, which stands for all of them."""
        return self.entries[-1].hash if self.entries else FIRST

    @property
    def notes(self) -> list[str]:
        """What a reader should know: a torn end, a clock that went backwards."""
        notes = clock_notes(self.entries)
        if self.content.torn:
            last = len(self.entries)
            notes.append(
                f"line {last + 1}: is torn, as a crash leaves it; the state is that of line {last}"
            )
        return [f"{self.path}: {note}" for note in notes]

    def reload(self) -> None:
        """Read what was added to the file: another process may have written to it.

        A file that did not only grow is read whole; so is each that is opened. Lines that were
        altered after they were read are found then, and by ``check``.

        Raises:
            UserError: A line was altered, or the file cannot be read.
        """
        with self._lock:
            content = self._grown() or parse(read_bytes(self.path))
            if content.problems:
                number, reason = content.problems[0]
                raise UserError(
                    f"{self.path}: line {number} {reason}; restore the file from a copy (owdfa"
                    " verify names every such line)"
                )
            self.content = content

    def _grown(self) -> Content | None:
        """The content with what was added; None where the file did not only grow."""
        if not self.entries:
            return None
        last = _line_of(self.entries[-1])
        data = read_bytes(self.path, self.content.size - len(last))
        if not data.startswith(last):
            return None
        added = data[len(last) :]
        if added == self.content.torn:
            return self.content
        content = parse(added, self.content)
        return None if content.problems else content

    def append(self, what: str, data: dict[str, Any], who: str) -> Entry:
        """Add a line; when this returns, it is on the disk.

        A torn end is cut off first, and kept in a line of its own.

        Raises:
            UserError: It cannot be written; the file is then as it was.
        """
        with self._lock:
            if self.content.torn:
                text = self.content.torn.decode("ascii", "backslashreplace")
                self._append("repaired", {"torn": text}, who)
            return self._append(what, data, who)

    def _append(self, what: str, data: dict[str, Any], who: str) -> Entry:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = sealed(Entry(len(self.entries) + 1, now, who, what, data, self.head))
        line = _line_of(entry)
        entry = _shared(entry, self.entries[-1:])
        append_bytes(self.path, self.content.size, line)
        end = self.content.size + len(line)
        self.content = Content((*self.entries, entry), (), b"", end)
        return entry


def sealed(entry: Entry) -> Entry:
    """The entry with its own hash."""
    content = {name: value for name, value in entry._asdict().items() if name != "hash"}
    return entry._replace(hash=hashlib.sha256(canonical(content).encode()).hexdigest())


def _line_of(entry: Entry) -> bytes:
    return canonical(entry._asdict()).encode() + b"\n"


def _parse_line(line: bytes, before: Sequence[Entry]) -> Entry | None:
    """The entry of a line; None where it is not in the one form, or does not have its hash."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or tuple(sorted(value)) != _FIELDS:
            return None
        entry = Entry(**value)
        datetime.fromisoformat(entry.time)
        # The one form without the hash, which comes last of what is named so: see ``sealed``.
        head, _, tail = line.rpartition(f',"hash":"{entry.hash}"'.encode())
        fits = hashlib.sha256(head + tail).hexdigest() == entry.hash
        fits = fits and canonical(value).encode() == line
    except (ValueError, TypeError, RecursionError):
        return None
    return _shared(entry, before) if fits else None


def _shared(entry: Entry, before: Sequence[Entry]) -> Entry:
    """The entry, with what the line before says too held once: many rest on one attribution."""
    for name, value in entry.data.items() if before else ():
        other = before[-1].data.get(name)
        if isinstance(value, dict) and value == other and canonical(value) == canonical(other):
            entry.data[name] = other
    return entry


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read; one that is not there holds nothing.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") if path.exists() else BytesIO() as stream:
            yield stream
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from None


def read_bytes(path: Path, start: int = 0) -> bytes:
    """Content of a file from a byte on; nothing where there is none.

    Raises:
        UserError: It cannot be read.
    """
    with reading(path) as stream:
        stream.seek(start)
        return stream.read()


def append_bytes(path: Path, size: int, data: bytes) -> None:
    """Cut a file to ``size`` bytes and add ``data``, on the disk when this returns.

    Raises:
        UserError: It cannot be written; what was added is cut off again.
    """
    try:
        with path.open("ab", buffering=0) as stream:
            stream.truncate(size)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)
                raise
    except OSError as error:
        raise writing_error(path, error) from error
