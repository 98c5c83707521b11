"""The lines of ``verdicts.jsonl``, and what the journal says that they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from owdfa.case.journal import Entry, read_bytes

ATTRIBUTED = "attributed"
"""What is said of a line of the journal that adds verdicts."""
DISCOVERED, REVIEWED, PROMOTED = "discovered", "reviewed", "promoted"
"""The same of one that groups images, changes their groups, or makes classes of these."""
GROUPS = (DISCOVERED, REVIEWED, PROMOTED)


def files_of(entry: Entry) -> list[dict[str, str]]:
    """The files that a line of the journal adds verdicts of: ``line``, its hash, and ``at``."""
    return entry.data["files"] if entry.what == ATTRIBUTED else []


def verdict_lines(path: Path, entries: Iterable[Entry]) -> tuple[list[bytes], list[str]]:
    """The lines that the journal has, and a sentence for each that is not as it was."""
    wanted = [file["line"] for entry in entries for file in files_of(entry)]
    lines = read_bytes(path).split(b"\n")[:-1]
    problems = [
        f"{path}: line {number} was altered: the journal has another hash of it"
        for number, (line, digest) in enumerate(zip(lines, wanted, strict=False), start=1)
        if digest_of(line) != digest
    ]
    if len(lines) < len(wanted):
        problems.append(f"{path}: line {len(lines) + 1} is missing: the journal has its hash")
    return lines[: len(wanted)], problems


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
