"""A case folder.

case.json         what makes the folder a case, and its id
journal.jsonl     who did what and when: ``journal.Journal``; the case's state is this, replayed
verdicts.jsonl    one ``FileVerdict`` a line; the journal holds the SHA-256 of every line
verdicts.csv      the same as a table, a row a verdict; made anew from the two
inputs/           copies of the inputs, named by their SHA-256, where they were asked for
clusters/         groups of images, a file for each time that they were made: ``review``
features/         embeddings of inputs, by their SHA-256; made again where they are missing

A verdict counts once its hash is in the journal. One that was written and not yet noted there, as
a crash leaves it, is left aside and overwritten.
"""

import secrets
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

from owdfa.case.following import Followed
from owdfa.case.items import Index, Item, Items, find_place
from owdfa.case.journal import Entry, Journal, append_bytes, current_user, parse, read_bytes
from owdfa.case.lines import (
    ATTRIBUTED,
    Attributions,
    add_attributions,
    cluster_problems,
    digest_of,
    verdict_lines,
)
from owdfa.case.table import VerdictTable
from owdfa.errors import UserError
from owdfa.files import atomic, check_new, read_json, write_json
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.runs.lock import BusyError, writing
from owdfa.runs.metadata import path_from

SCHEMA = "owdfa/case/1"
WHAT = "a case (owdfa attribute makes one)"
_MARKER, _JOURNAL, _INPUTS = "case.json", "journal.jsonl", "inputs"
_VERDICTS, _TABLE = "verdicts.jsonl", "verdicts.csv"

_locks: dict[Path, threading.RLock] = {}  # the lock of a folder keeps processes out, not threads


class Attributed(NamedTuple):
    """An input file and what is said of it."""

    verdict: FileVerdict
    place: Path  # where the file is
    at: str | None = None  # the place as an earlier verdict has it, which this one is to replace


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
        self._end: int | None = None  # of the verdicts that the journal has, while this writes
        self._added = False
        self._table = VerdictTable(folder / _TABLE)
        self._indexed = Followed(Index.empty(), self._extend_index)
        self._attributions: Followed[Attributions] = Followed({}, add_attributions)

    @classmethod
    def open(cls, folder: str | Path) -> "Case":
        """Open a case.

        Raises:
            UserError: The folder is none, or a line of its journal was altered.
        """
        case = cls(Path(folder))
        if not case.entries:
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
            if not is_case(folder):
                check_new(folder, "case")
                write_json(folder / _MARKER, {"schema": SCHEMA, "id": secrets.token_hex(8)})
            case = cls(folder)
            # A kill may have left the marker alone.
            if case.entries or (folder / _VERDICTS).exists():
                raise UserError(f"{folder}: is a case already; choose another -o")
            case.record("created", {"schema": SCHEMA, "id": case.id}, who=who)
        return case

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Lines of the journal."""
        return self.journal.entries

    @property
    def head(self) -> str:
        """Hash of the journal's last line, which stands for all of them."""
        return self.journal.head

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the journal; none of it was hidden or set right."""
        return self.journal.notes

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let no other process write to the case until the block ends; then update the table.

        Raises:
            BusyError: Another process or thread is writing to it.
        """
        with _turn(self.folder), writing(self.folder):
            if not self._depth:
                self.journal.reload()  # others may have written meanwhile
                self._end = None
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._added and not self._depth:
                self.write_table()

    def write_table(self) -> None:
        """Bring the table up to date; who calls it is ``writing``."""
        self._table.update(self.items())
        self._added = False

    def record(self, what: str, data: dict[str, Any], *, who: str | None = None) -> Entry:
        """Add a line to the journal; when this returns, it is on the disk.

        Args:
            what: A word for what was done.
            data: What it was done to, as JSON holds it.
            who: Who did it; None for the user of this process.

        Raises:
            UserError: Another process is writing to the case, or it cannot be written.
        """
        with self.writing():
            return self.journal.append(what, data, who or current_user())

    def add(
        self,
        found: Sequence[Attributed],
        attribution: Attribution,
        *,
        command: Sequence[str] = (),
        copy: bool = False,
        who: str | None = None,
    ) -> Entry:
        """Add verdicts; when this returns, they are on the disk and in the journal.

        A verdict of a file that has one already takes its place; the journal keeps both.

        Args:
            found: Files and what is said of them.
            attribution: What that rests on.
            command: The command that was given.
            copy: Whether to copy the files into the case.
            who: Who made the verdicts; None for the user of this process.

        Raises:
            UserError: Another process is writing to the case, it cannot be written, or a file to
                copy is no longer the one that the verdict is of.
        """
        with self.writing():
            lines = [each.verdict.model_dump_json(by_alias=True).encode() for each in found]
            if copy:
                for each in found:
                    self._copy(each)
            if self._end is None:
                self._end = self._index().end
            new = b"".join(line + b"\n" for line in lines)
            append_bytes(self.folder / _VERDICTS, self._end, new)
            files = [
                {"line": digest_of(line), "at": each.at or path_from(self.folder, each.place)}
                for line, each in zip(lines, found, strict=True)
            ]
            data = {
                "attribution": attribution.model_dump(by_alias=True, mode="json"),
                "command": shlex.join(command),
                "copied": copy,
                "files": files,
                "run": path_from(self.folder, Path(attribution.run)),
            }
            entry = self.record(ATTRIBUTED, data, who=who)
            self._end, self._added = self._end + len(new), True
            return entry

    def items(self, until: int | None = None) -> Items:
        """The inputs with the last verdict of each, in order of that; read as they are needed.

        Args:
            until: Number of the journal's line to stop after; None for all of them.

        Raises:
            UserError: A verdict was altered.
        """
        rows = tuple(self._index(until).rows.values())
        return Items(self.folder / _VERDICTS, self._root, rows)

    def attributions(self, until: int | None = None) -> dict[str, tuple[Attribution, Path]]:
        """What verdicts rest on, by its digest, and where the run was; see ``items``."""
        entries = self.entries
        whole = until is None
        made = self._attributions.of(entries) if whole else add_attributions({}, entries[:until])
        return {digest: (each, find_place(self._root, run)) for digest, (each, run) in made.items()}

    def find_input(self, item: Item) -> Path:
        """Where the file of an item is: its copy in the case, or where it was."""
        copy = self.copy_of(item.verdict)
        return copy if copy.is_file() else item.place

    @cached_property
    def _root(self) -> Path:
        return self.folder.resolve()

    def _index(self, until: int | None = None) -> Index:
        """Where the verdicts lie that the journal has."""
        if until is not None:
            return self._extend_index(Index.empty(), self.entries[:until])
        return self._indexed.of(self.entries)

    def _extend_index(self, index: Index, entries: Sequence[Entry]) -> Index:
        return index.after(entries, self.folder / _VERDICTS)

    def copy_of(self, verdict: FileVerdict) -> Path:
        """Where the copy of an input belongs, in the case."""
        return self.folder / _INPUTS / f"{verdict.sha256}{Path(verdict.path).suffix.lower()}"

    def _copy(self, found: Attributed) -> None:
        """Copy a file into the case; one that could not be read has nothing to copy."""
        copy, digest = self.copy_of(found.verdict), found.verdict.sha256
        if digest is None or copy.is_file():
            return
        data = read_bytes(found.place)
        if digest_of(data) != digest:
            raise UserError(f"{found.place}: has changed meanwhile; attribute it again")
        with atomic(copy) as temporary:
            temporary.write_bytes(data)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let no other thread write to a case until the block ends.

    Raises:
        BusyError: Another does.
    """
    lock = _locks.setdefault(folder.absolute(), threading.RLock())
    if not lock.acquire(blocking=False):
        raise BusyError(f"{folder}: something else is writing to it; wait until that ends")
    try:
        yield
    finally:
        lock.release()


def is_case(folder: str | Path) -> bool:
    """Whether a folder is a case, whole or not."""
    return (Path(folder) / _MARKER).is_file()


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
    if content.entries[0].seq == 1 and content.entries[0].data.get("id") != identity:
        found.append(f"{path}: is of another case than {folder / _MARKER}")
    if content.problems:  # which verdicts there should be is not known
        return found
    lines = verdict_lines(folder / _VERDICTS, content.entries)
    found += [line.problem for line in lines if line.problem]
    return found + cluster_problems(folder, content.entries)


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
