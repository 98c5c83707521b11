"""What is served: a case, and the run that gives its verdicts."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from owdfa.case import Case, Item, is_case
from owdfa.case.items import Row
from owdfa.case.review import Review, open_review, write_alone
from owdfa.errors import UserError
from owdfa.records.verdict import Attribution


class Place:
    """A case folder and a run; what is read of them is kept until the journal grows.

    Args:
        case: Folder of the case; made with the first file where there is none.
        run: The run folder or exported file that gives verdicts; None where there is none, so that
            nothing new can be attributed.
    """

    def __init__(self, case: Path, run: Path | None) -> None:
        self.folder, self.run = case, run
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._case: Case | None = None
        self._stamp: tuple[int, int] | None = None  # of the journal's file, when it was read
        self._written: Case | None = None
        self._attributions: dict[str, Attribution] = {}
        self._found: dict[str, Row] = {}
        self._items: dict[str, Item] = {}
        self._num_seen = self._num_read = 0  # lines of the journal that are in these two
        self._review: tuple[str, Review] | None = None

    @classmethod
    def find(cls, place: Path, *, case: Path | None = None, run: Path | None = None) -> "Place":
        """Find out what a folder is.

        Args:
            place: A case, or a run folder or exported file.
            case: Where verdicts go, if ``place`` is a run.
            run: What gives verdicts, if ``place`` is a case; None for its last one.

        Raises:
            UserError: It is neither, or something is named twice.
        """
        if not place.exists():
            raise UserError(f"{place}: no such file or folder; name a case or a run")
        if not is_case(place):
            if run is not None:
                raise UserError(f"{place}: is no case, and --run names another run; name one")
            folder = case or Path("case")
            if folder.exists() and not is_case(folder) and any(folder.iterdir()):
                raise UserError(f"{folder}: holds files and is no case; choose another --case")
            return cls(folder, place)
        if case is not None:
            raise UserError(f"{place}: is a case, and --case names another; name one")
        return cls(place, run or _last_run(Case.open(place)))

    @property
    def begun(self) -> bool:
        """Whether there is a case yet."""
        return is_case(self.folder)

    def case(self) -> Case:
        """The case as it is now, with what others have written meanwhile.

        Raises:
            UserError: It was not begun, or a line of its journal was altered.
        """
        with self._lock:
            if self._case is None:
                if not self.begun:
                    raise UserError(f"{self.folder}: has no file yet; attribute one first")
                self._case = Case.open(self.folder)
            elif self._stamp != (stamp := _stamp(self._case.journal.path)):
                self._case.journal.reload()
                self._stamp = stamp
            return self._case

    def items(self) -> dict[str, Item]:
        """The inputs of the case by SHA-256, in order; those that could not be read are not here.

        All are kept in memory from the first call on: who wants one asks for ``item``.

        Raises:
            UserError: A verdict was altered.
        """
        with self._lock:
            rows = self._rows()
            new = _since(tuple(rows.values()), self._num_read)
            if new:
                found = dict(self._items)  # who looks at the former one goes on undisturbed
                for item in self.case().items().only(new):
                    found.pop(str(item.verdict.sha256), None)
                    found[str(item.verdict.sha256)] = item
                self._items, self._num_read = found, new[-1].seq
            return self._items

    def item(self, sha256: str) -> Item | None:
        """An input of the case by its SHA-256; None where there is none.

        Raises:
            UserError: Its verdict was altered.
        """
        with self._lock:
            row = self._rows().get(sha256)
            return None if row is None else next(iter(self.case().items().only([row])))

    def latest(self, offset: int, limit: int) -> tuple[int, list[Item]]:
        """How many inputs the case has, and some of them, the last one first."""
        with self._lock:
            rows = list(self._rows().values())
            some = rows[::-1][offset : offset + limit]
            return len(rows), list(self.case().items().only(some)) if some else []

    def _rows(self) -> dict[str, Row]:
        """Where the verdicts of the case lie, by the SHA-256 of their files, in order."""
        if not self.begun:
            return {}
        rows = self.case().items().rows
        if rows and rows[-1].seq < self._num_seen:  # an older copy was put back
            self._found, self._items, self._num_seen, self._num_read = {}, {}, 0, 0
        for row in _since(rows, self._num_seen):
            self._found.pop(str(row.sha256), None)
            if row.sha256 is not None:
                self._found[row.sha256] = row
            self._num_seen = row.seq
        return self._found

    def attribution(self, digest: str) -> Attribution | None:
        """What verdicts rest on, by its digest; None where there are none of it."""
        with self._lock:
            if digest not in self._attributions:
                found = self.case().attributions()
                self._attributions |= {name: each for name, (each, _) in found.items()}
            return self._attributions.get(digest)

    def review(self) -> Review:
        """The groups of the case; none before ``discover``."""
        with self._lock:
            if not self.begun:
                return Review()
            case = self.case()
            if self._review is None or self._review[0] != case.head:
                self._review = case.head, open_review(case)
            return self._review[1]

    def begin(self) -> None:
        """Begin the case where it was not."""
        with self._writing:
            if not self.begun:
                Case.create(self.folder)

    @contextmanager
    def writing(self) -> Iterator[Case]:
        """Write to the case; it is begun where it was not. Nobody else writes meanwhile.

        Raises:
            BusyError: Another process has been writing for a while.
            UserError: It cannot be written.
        """
        with self._writing:
            self.begin()
            # Not the one that is read from: reading need not wait for who writes.
            self._written = self._written or Case.open(self.folder)
            with write_alone(self._written):
                yield self._written

    def write_table(self) -> None:
        """Bring the table of the case up to date, where a kill kept it from that.

        Raises:
            UserError: As ``writing``.
        """
        table, verdicts = (self.folder / name for name in ("verdicts.csv", "verdicts.jsonl"))
        if _changed(table) < _changed(verdicts):
            with self.writing() as case:
                case.write_table()


def _since(rows: Sequence[Row], seq: int) -> list[Row]:
    """Those that a later line of the journal added; they are in order of lines."""
    return list(takewhile(lambda row: row.seq > seq, reversed(rows)))[::-1]


def _changed(path: Path) -> int:
    """When a file was changed last, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with every line that is added to a file."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _last_run(case: Case) -> Path | None:
    """The run that gave the case's last verdict, where it is still there."""
    places = [place for _, place in case.attributions().values()]
    return next((place for place in reversed(places) if place.exists()), None)
