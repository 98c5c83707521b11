"""The inputs of a case with the verdict that holds of each, read from the disk as they are needed.

What is kept in memory is where each verdict lies, and the name and hash of its file.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from json import loads
from os.path import normpath
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple, final, overload

from pydantic import ValidationError

from owdfa.case.journal import Entry, reading
from owdfa.case.lines import digest_of, verdict_lines
from owdfa.errors import UserError
from owdfa.records.verdict import FileVerdict


class Item(NamedTuple):
    """An input of a case, as the journal has it."""

    verdict: FileVerdict
    place: Path  # where the file was when it was attributed
    seq: int  # line of the journal that added it
    at: str  # the place, as the journal has it
    earlier: tuple[int, ...] = ()  # lines of the journal with verdicts of before, in order


class Row(NamedTuple):
    """Where the verdict of an input lies, and what it is of."""

    start: int  # byte of ``verdicts.jsonl``
    size: int  # in bytes, without its end
    digest: str  # SHA-256 of it
    seq: int  # line of the journal that added it
    at: str  # where the file was, as the journal has it
    path: str  # of the file, as the verdict has it
    sha256: str | None  # of the file
    attribution: str  # digest of what it rests on
    earlier: tuple[int, ...]  # lines of the journal with verdicts of before


class Index(NamedTuple):
    """Where the verdicts of a case lie.

    Attributes:
        rows: That of the last verdict of each input, by place and SHA-256, in order of verdicts.
        end: Bytes of ``verdicts.jsonl`` that the journal has.
        num_lines: Lines of it that the journal has.
    """

    rows: dict[tuple[str, str | None], Row]
    end: int
    num_lines: int

    @classmethod
    def empty(cls) -> "Index":
        """That of a case without verdicts."""
        return cls({}, 0, 0)

    def after(self, entries: Iterable[Entry], path: Path) -> "Index":
        """The same with the verdicts that more lines of the journal add.

        Raises:
            UserError: A verdict was altered or is missing.
        """
        rows, end, number = dict(self.rows), self.end, self.num_lines
        for line in verdict_lines(path, entries, end, number):
            if line.problem is not None:
                raise UserError(f"{line.problem}; restore the file from a copy")
            values = _values(path, line.data)
            key = line.at, values.get("sha256")
            before = rows.pop(key, None)
            earlier = (*before.earlier, before.seq) if before else ()
            about = values["path"], key[1], intern(str(values.get("attribution")))
            size = len(line.data)
            rows[key] = Row(line.start, size, line.digest, line.seq, line.at, *about, earlier)
            end, number = line.start + size + 1, line.number
        return Index(rows, end, number)


@final
class Items(Sequence[Item]):
    """Inputs of a case; each is read, and checked against the journal, when it is asked for.

    Args:
        path: ``verdicts.jsonl``.
        root: What places of files are relative to.
        rows: Where the verdicts lie.

    Raises:
        UserError: Where one is asked for that was altered.
    """

    def __init__(self, path: Path, root: Path, rows: Sequence[Row]) -> None:
        self.path, self.root, self.rows = path, root, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> "Items": ...

    def __getitem__(self, index: int | slice) -> "Item | Items":
        """One of them, or some, which are read later."""
        if isinstance(index, slice):
            return Items(self.path, self.root, self.rows[index])
        return next(iter(Items(self.path, self.root, [self.rows[index]])))

    def __iter__(self) -> Iterator[Item]:
        with reading(self.path) as stream:
            for row in self.rows:
                stream.seek(row.start)
                line = stream.read(row.size)
                if digest_of(line) != row.digest:
                    raise UserError(
                        f"{self.path}: was altered: the journal has another hash of the verdict of"
                        f" {row.path}; restore the file from a copy"
                    )
                place = find_place(self.root, row.at)
                yield Item(_verdict(self.path, line), place, row.seq, row.at, row.earlier)

    def only(self, rows: Sequence[Row]) -> "Items":
        """Those of some rows."""
        return Items(self.path, self.root, rows)

    def of(self, attributions: Collection[str]) -> "Items":
        """Those whose verdicts rest on some attributions, by their digests."""
        return self.only([row for row in self.rows if row.attribution in attributions])


def find_place(root: Path, recorded: str) -> Path:
    """A place that was recorded relative to ``root`` where it lies in it or beside it."""
    return Path(normpath(root / recorded))


def _values(path: Path, line: bytes) -> dict[str, Any]:
    """What a line holds, unchecked but for the path, which every version has."""
    values = loads(line)
    if not isinstance(values, dict) or not isinstance(values.get("path"), str):
        raise _unreadable(path)
    return values


def _verdict(path: Path, line: bytes) -> FileVerdict:
    try:
        return FileVerdict.model_validate_json(line)
    except ValidationError:
        raise _unreadable(path) from None


def _unreadable(path: Path) -> UserError:
    return UserError(
        f"{path}: holds verdicts that this version does not read; use the version that wrote them,"
        " see the journal"
    )
