"""The lines of ``verdicts.jsonl``, and what the journal says that they are."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from owdfa.case.journal import Entry, read_bytes, reading
from owdfa.records.verdict import Attribution, attribution_digest

ATTRIBUTED = "attributed"
"""What is said of a line of the journal that adds verdicts."""
DISCOVERED, REVIEWED, PROMOTED = "discovered", "reviewed", "promoted"
"""The same of one that groups images, changes their groups, or makes classes of these."""
Attributions = Mapping[str, tuple[Attribution, str]]
"""What verdicts rest on, by its digest, and where the run was, relative to the case."""
RESCANNED = "rescanned"
"""The same of one that says what changed in verdicts that were added before it."""
GROUPS = (DISCOVERED, REVIEWED, PROMOTED)


def files_of(entry: Entry) -> list[dict[str, str]]:
    """The files that a line of the journal adds verdicts of: ``line``, its hash, and ``at``."""
    return entry.data["files"] if entry.what == ATTRIBUTED else []


def add_attributions(before: Attributions, entries: Iterable[Entry]) -> Attributions:
    """What verdicts rest on, with what some lines of the journal add."""
    found, last = dict(before), None
    for entry in entries:
        if entry.what == ATTRIBUTED:
            about = (entry.data["attribution"], entry.data["run"])
            if about != last:
                made = Attribution.model_validate(about[0])
                found[attribution_digest(about[0])], last = (made, about[1]), about
    return found


class VerdictLine(NamedTuple):
    """A line of ``verdicts.jsonl``."""

    number: int  # 1, 2, ...
    start: int  # byte
    seq: int  # line of the journal that added it
    at: str  # where the file was
    digest: str  # SHA-256 that it should have
    data: bytes  # without its end
    problem: str | None  # a sentence where it is not as it was


def verdict_lines(
    path: Path, entries: Iterable[Entry], start: int = 0, number: int = 0
) -> Iterator[VerdictLine]:
    """The lines that some lines of the journal add, up to the first that is missing.

    Args:
        path: The file.
        entries: Lines of the journal.
        start: Byte where the first of them begins.
        number: Lines before it.

    Raises:
        UserError: The file cannot be read.
    """
    wanted = ((entry.seq, file) for entry in entries for file in files_of(entry))
    first = next(wanted, None)
    if first is None:
        return
    with reading(path) as stream:
        stream.seek(start)
        for seq, file in chain([first], wanted):
            number, line = number + 1, stream.readline()
            problem = None
            if not line.endswith(b"\n"):
                problem = f"{path}: line {number} is missing: the journal has its hash"
            elif digest_of(line[:-1]) != file["line"]:
                problem = f"{path}: line {number} was altered: the journal has another hash of it"
            yield VerdictLine(number, start, seq, file["at"], file["line"], line[:-1], problem)
            if not line.endswith(b"\n"):
                return
            start += len(line)


def cluster_problems(folder: Path, entries: Iterable[Entry]) -> list[str]:
    """A sentence for each file of groups that is not as it was."""
    found = []
    for entry in entries:
        if entry.what == DISCOVERED:
            data = read_bytes(folder / entry.data["file"])
            if digest_of(data) != entry.data["sha256"]:
                what = "was altered: the journal has another hash of it" if data else "is missing"
                found.append(f"{folder / entry.data['file']}: {what}")
    return found


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
