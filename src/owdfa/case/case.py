"""A case folder.

case.json         what makes the folder a case, and its id
journal.jsonl     who did what and when: ``journal.Journal``; the state of the case is this, replayed
verdicts.jsonl    one verdict an image, a line each; the journal holds the SHA-256 of every line
verdicts.csv      the same as a table, made anew from the two
inputs/           copies of the inputs, named by their SHA-256, where they were asked for

A verdict counts once its hash is in the journal. One that was written and not yet noted there, as
a crash leaves it, is left aside and overwritten.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from owdfa.case.journal import (
    Entry,
    Journal,
    append_bytes,
    clock_notes,
    current_user,
    parse,
    read_bytes,
)
from owdfa.errors import UserError
from owdfa.files import atomic, read_json, write_json
from owdfa.runs.lock import writing

SCHEMA = "owdfa/case/1"
ATTRIBUTED = "attributed"
WHAT = "a case (owdfa attribute makes one)"
_MARKER, _JOURNAL, _VERDICTS, _INPUTS = "case.json", "journal.jsonl", "verdicts.jsonl", "inputs"


@final
class Case:
    """A case folder. Any number may read it; one at a time writes to it.

    Args:
        folder: A folder that is a case: see ``open`` and ``create``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = _read_id(folder)
        self.journal = Journal(folder / _JOURNAL)
        self._depth = 0

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether a folder is a case, whole or not."""
        return (Path(folder) / _MARKER).is_file()

    @classmethod
    def open(cls, folder: str | Path) -> "Case":
        """Open a case.

        Raises:
            UserError: The folder is none, or a line of its journal was altered.
        """
        case = cls(Path(folder))
        if not case.journal.entries:
            raise UserError(
                f"{case.journal.path}: holds no line; restore it from a copy, or begin another case"
            )
        return case

    @classmethod
    def create(cls, folder: str | Path, *, who: str | None = None) -> "Case":
        """Begin a case in a new or an empty folder.

        Args:
            folder: The folder.
            who: Who begins it; None for the user of this process.

        Raises:
            UserError: The folder holds something, or it cannot be written.
        """
        folder = Path(folder)
        with writing(folder):
            if not cls.exists(folder):
                if any(folder.iterdir()):
                    raise UserError(f"{folder}: holds files and is no case; choose another -o")
                write_json(folder / _MARKER, {"schema": SCHEMA, "id": secrets.token_hex(8)})
            case = cls(folder)
            # A kill may have left the marker alone.
            if case.journal.entries or (folder / _VERDICTS).exists():
                raise UserError(f"{folder}: is a case already; choose another -o")
            case.record("created", {"schema": SCHEMA, "id": case.id}, who=who)
        return case

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Lines of the journal."""
        return self.journal.entries

    @property
    def head(self) -> str:
        """Hash of the journal's last line."""
        return self.journal.head

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the journal; none of it was hidden or set right."""
        return self.journal.notes

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let no other process write to the case until the block ends.

        Raises:
            UserError: Another process is writing to it.
        """
        with writing(self.folder):
            if not self._depth:
                self.journal.reload()  # of what others wrote meanwhile
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def record(self, what: str, data: Mapping[str, Any], *, who: str | None = None) -> Entry:
        """Add a line to the journal; when this returns, it is on the disk.

        Args:
            what: A word for what was done.
            data: What it was done to, as JSON holds it.
            who: Who did it; None for the user of this process.

        Raises:
            UserError: Another process is writing to the case, or it cannot be written.
        """
        with self.writing():
            return self.journal.append(what, dict(data), who or current_user())

    def add(
        self,
        verdicts: Iterable[Mapping[str, Any]],
        basis: Mapping[str, Any],
        *,
        copy: bool = False,
        who: str | None = None,
    ) -> Entry:
        """Add verdicts; when this returns, they are on the disk and in the journal.

        A verdict of an image that has one already takes its place; the journal keeps both.

        Args:
            verdicts: A verdict an image, as JSON holds it; ``path`` and ``sha256`` name the image.
            basis: What they rest on, as JSON holds it: run, command, options, versions.
            copy: Whether to copy the images into the case.
            who: Who made them; None for the user of this process.

        Raises:
            UserError: Another process is writing to the case, it cannot be written, or an image to
                copy is no longer the one that the verdict is of.
        """
        with self.writing():
            found = list(verdicts)
            if copy:
                for verdict in found:
                    self._copy(verdict)
            lines = [_line_of(verdict) for verdict in found]
            kept = b"".join(line + b"\n" for line in self._lines())
            new = b"".join(line + b"\n" for line in lines)
            append_bytes(self.folder / _VERDICTS, len(kept), new)
            hashes = [hashlib.sha256(line).hexdigest() for line in lines]
            return self.record(ATTRIBUTED, {"basis": dict(basis), "verdicts": hashes}, who=who)

    def verdicts(self, until: int | None = None) -> list[dict[str, Any]]:
        """The verdict of each image: the last that it was given.

        Args:
            until: Number of the journal's line to stop after; None for all of them.

        Raises:
            UserError: A line was altered.
        """
        latest: dict[tuple[str, str | None], dict[str, Any]] = {}
        for line in self._lines(until):
            verdict = json.loads(line)
            key = (verdict["path"], verdict["sha256"])
            latest.pop(key, None)
            latest[key] = verdict
        return list(latest.values())

    def find_input(self, verdict: Mapping[str, Any]) -> Path:
        """Where the image of a verdict is: its copy in the case, or the file that it was made of."""
        copy = self._copy_of(verdict)
        return copy if copy.is_file() else Path(verdict["path"])

    def problems(self) -> list[str]:
        """A line for each line of the case that was altered, removed or put in."""
        return check(self.folder)

    def _lines(self, until: int | None = None) -> list[bytes]:
        """The lines of the verdicts that the journal has."""
        entries = self.entries[:until]
        found, problems = _verdict_lines(self.folder / _VERDICTS, entries)
        if problems:
            raise UserError(f"{problems[0]}; restore the file from a copy")
        return found

    def _copy_of(self, verdict: Mapping[str, Any]) -> Path:
        digest = str(verdict["sha256"])
        return self.folder / _INPUTS / f"{digest}{Path(verdict['path']).suffix.lower()}"

    def _copy(self, verdict: Mapping[str, Any]) -> None:
        """Copy an image into the case; one that could not be read has nothing to copy."""
        copy = self._copy_of(verdict)
        if verdict["sha256"] is None or copy.is_file():
            return
        source = Path(verdict["path"])
        data = read_bytes(source)
        if hashlib.sha256(data).hexdigest() != verdict["sha256"]:
            raise UserError(f"{source}: has changed since its verdict was made; attribute it again")
        with atomic(copy) as temporary:
            temporary.write_bytes(data)


def check(folder: Path) -> list[str]:
    """A sentence for each line of a case that was altered, removed or put in.

    Raises:
        UserError: The folder is no case, or a file of it cannot be read.
    """
    identity, path = _read_id(folder), folder / _JOURNAL
    content = parse(read_bytes(path))
    found = [f"{path}: line {number} {reason}" for number, reason in content.problems]
    if not content.entries:
        return found or [f"{path}: holds no line"]
    if content.entries[0].data.get("id") not in (identity, None):
        found.append(f"{path}: line 1 is of another case than {folder / _MARKER}")
    if content.problems:  # which verdicts there should be is not known
        return found
    return found + _verdict_lines(folder / _VERDICTS, content.entries)[1]


def notes_of(folder: Path) -> list[str]:
    """What a reader should know of a journal, altered or not."""
    return [f"{folder / _JOURNAL}: {note}" for note in clock_notes(_entries(folder))]


def _entries(folder: Path) -> tuple[Entry, ...]:
    return parse(read_bytes(folder / _JOURNAL)).entries


def _verdict_lines(path: Path, entries: Iterable[Entry]) -> tuple[list[bytes], list[str]]:
    """The lines of the verdicts that the journal has, and a sentence for each that is not as it was."""
    wanted = [
        digest for entry in entries if entry.what == ATTRIBUTED for digest in entry.data["verdicts"]
    ]
    lines = read_bytes(path).split(b"\n")[:-1]
    problems = [
        f"{path}: line {number} was altered: the journal has another hash of it"
        for number, (line, digest) in enumerate(zip(lines, wanted, strict=False), start=1)
        if hashlib.sha256(line).hexdigest() != digest
    ]
    if len(lines) < len(wanted):
        problems.append(f"{path}: line {len(lines) + 1} is missing: the journal has its hash")
    return lines[: len(wanted)], problems


def _line_of(verdict: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(verdict), separators=(",", ":"), allow_nan=False).encode()


def _read_id(folder: Path) -> str:
    note = read_json(folder / _MARKER, what=WHAT)
    if not isinstance(note, dict) or not str(note.get("schema")).startswith("owdfa/case/"):
        raise UserError(f"{folder / _MARKER}: is not {WHAT}")
    if note["schema"] != SCHEMA:
        raise UserError(
            f"{folder / _MARKER}: holds {note['schema']!r}, this version reads {SCHEMA!r}; begin"
            " another case"
        )
    return str(note.get("id"))
