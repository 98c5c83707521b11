"""Rescan: what changes in the verdicts of a case with another run, and why.

A look changes nothing. Where the new verdicts are to hold, they are added to the case as those of
``attribute`` are: the journal keeps the earlier ones, and has a line that says what changed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from owdfa.attribution.attributor import AttributeOptions, Attributor, default_min_size
from owdfa.attribution.video import attribute_files
from owdfa.case import Attributed, Case, Item, Items
from owdfa.case.lines import PROMOTED, RESCANNED
from owdfa.case.review import open_review
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.inference.embeddings import PART, move_embeddings
from owdfa.inference.lists import ImageFile
from owdfa.progress import OnProgress, no_progress
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.runs.metadata import path_from
from owdfa.stages.rescan.reasons import HEADINGS, Group, Kind, Side, explain, pair_faces
from owdfa.stages.rescan.table import Compared, Write, compare, writing_table

__all__ = ["HEADINGS", "Compared", "Move", "RescanOptions", "Rescanned", "rescan"]

_PART = 512  # files that are added to the case together


class RescanOptions(Settings):
    """What is done, and how."""

    keep: bool = False
    """Add the new verdicts to the case, as those that now hold."""
    jobs: int = Field(default=0, ge=0)
    """Threads that work at the same time; 0 for one a core."""


class Move(NamedTuple):
    """From which verdict to which, and why."""

    kind: Kind
    before: str
    now: str


@dataclass
class Rescanned:
    """What would change, or has.

    Attributes:
        run: The run.
        kept: Whether the new verdicts are those that now hold.
        num_files: Files that were looked at again.
        kinds: Verdicts by kind of change.
        moves: The same in detail.
        examples: The first of each of these.
        missing: Path of each file that is not there, or is another one by now, and why.
    """

    run: str
    kept: bool
    num_files: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    moves: Counter[Move] = field(default_factory=Counter)
    examples: dict[Move, Compared] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)

    def count(self, rows: Sequence[Compared]) -> None:
        """Count the verdicts of a file."""
        self.num_files += 1
        for row in rows:
            assert row.change is not None
            move = Move(row.change, _plain(row.before), _plain(row.now))
            self.kinds[move.kind] += 1
            self.moves[move] += 1
            self.examples.setdefault(move, row)

    @property
    def num_changed(self) -> int:
        """Verdicts that are others."""
        return self.kinds.total() - self.kinds["same"]


def _plain(outcome: str | None) -> str:
    """An outcome without what a run calls its novel types, of which there may be many."""
    if outcome is None:
        return "no such face"
    return "novel" if outcome.startswith("novel:") else outcome


def rescan(
    case: str | Path,
    run: str | Path,
    *,
    output: Path | None = None,
    options: RescanOptions | None = None,
    command: Sequence[str] = (),
    on_progress: OnProgress = no_progress,
) -> Rescanned:
    """Attribute the inputs of a case by another run, and say what changes, and why.

    Least sizes and qualities are those of the verdicts that hold. Memory does not grow with the
    number of inputs, but for their names.

    Args:
        case: The case.
        run: A run folder, or a file that ``export`` made of one, that was calibrated.
        output: A CSV file to write, a row a verdict; None for none.
        options: What is done, and how.
        command: The command that was given, for the record.
        on_progress: Called with (files done, files in all).

    Raises:
        UserError: The run is not calibrated, the case has no input that is still there, or it
            cannot be written.
    """
    opened, options = Case.open(case), options or RescanOptions()
    found = Rescanned(str(run), kept=options.keep)
    with opened.writing() if found.kept else nullcontext(), writing_table(output) as write:
        items = opened.items()
        if not items:
            raise UserError(f"{opened.folder}: holds no verdict; owdfa attribute adds some")
        work = _Work(opened, found, write, tuple(command))
        for how, some in _by_options(opened, items, options.jobs):
            attributor = Attributor.open(run, how)
            for num in work.look(attributor, some):
                on_progress(num, len(items))
        if not found.num_files:
            raise UserError(
                f"{opened.folder}: none of its {len(items)} inputs is where it was; put the files"
                " back, or attribute them again, with --copy to keep them in the case"
            )
        if found.kept:
            opened.record(RESCANNED, work.note(attributor.attribution))
    return found


@dataclass
class _Work:
    """Looks at files again, and keeps what was found."""

    case: Case
    found: Rescanned
    write: Write
    command: tuple[str, ...]

    def __post_init__(self) -> None:
        self._groups = _named_groups(self.case)
        self._made = {digest: made for digest, (made, _) in self.case.attributions().items()}

    def look(self, attributor: Attributor, items: Items) -> Iterator[int]:
        """Attribute inputs again; yields the number of files done.

        Args:
            attributor: By what.
            items: Inputs, and the verdicts that hold.
        """
        embeddings: dict[str, np.ndarray] = {}
        if self.found.kept:
            attributor = replace(attributor, keep=embeddings.__setitem__)
        files = (ImageFile(x.verdict.path, str(self.case.find_input(x))) for x in items)
        pairs = zip(items, attribute_files(attributor, files), strict=True)
        while part := list(islice(pairs, _PART)):
            compared = (self._compare(item, again, attributor) for item, (_, again) in part)
            added = [each for each in compared if each is not None]
            if self.found.kept and added:
                self.case.add(added, attributor.attribution, command=self.command)
                if len(embeddings) >= PART:
                    move_embeddings(self.case.folder, attributor.predictor, embeddings)
            yield self.found.num_files + len(self.found.missing)
        move_embeddings(self.case.folder, attributor.predictor, embeddings)

    def _compare(self, item: Item, again: FileVerdict, attributor: Attributor) -> Attributed | None:
        """Say what changed in a file; None where it is not the one that there was."""
        before = item.verdict
        if again.sha256 is None or again.sha256 != before.sha256:
            place = self.case.find_input(item)
            reason = "is another file by now" if place.is_file() else f"is not at {place}"
            self.found.missing.append((before.path, reason))
            for number, verdict in enumerate(before.verdicts, start=1):
                row = compare(before, number, (verdict, None))
                self.write(row._replace(reason=reason))
            return None
        group = self._groups.get(again.sha256)
        made, rows = (self._made[before.attribution], attributor.attribution), []
        for number, pair in enumerate(pair_faces(before.verdicts, again.verdicts), start=1):
            kind, reason = explain(Side(pair[0], made[0]), Side(pair[1], made[1]), group)
            row = compare(before, number, pair)._replace(change=kind, reason=reason)
            rows.append(row._replace(group=group.id if group else None))
            self.write(rows[-1])
        self.found.count(rows)
        return Attributed(again, item.place, item.at)

    def note(self, made: Attribution) -> dict[str, object]:
        """What the journal is to say."""
        return {
            "run": path_from(self.case.folder, Path(made.run)),
            "weights": made.provenance.weights_digest,
            "files": self.found.num_files,
            "missing": len(self.found.missing),
            "changes": dict(self.found.kinds),
        }


def _by_options(case: Case, items: Items, jobs: int) -> Iterator[tuple[AttributeOptions, Items]]:
    """Inputs that were looked at in the same way, and how."""
    digests: list[tuple[AttributeOptions, set[str]]] = []
    for digest, (made, _) in case.attributions().items():
        usual = made.min_size == default_min_size(made.store_size)
        options = AttributeOptions(
            min_size=None if usual else made.min_size,
            min_quality=made.min_quality,
            frame_interval=made.frame_interval,
            jobs=jobs,
        )
        same = next((names for other, names in digests if other == options), None)
        if same is None:
            digests.append((options, {digest}))
        else:
            same.add(digest)
    for options, names in digests:
        if some := items.of(names):
            yield options, some


def _named_groups(case: Case) -> Mapping[str, Group]:
    """The group of each file that is in one with a name, by SHA-256."""
    promoted = {
        name for entry in case.entries if entry.what == PROMOTED for name in entry.data["classes"]
    }
    found = {}
    for each in open_review(case).state.groups.values():
        if each.name and each.named and not each.rejected:
            group = Group(each.id, each.name, each.named.who, each.name in promoted)
            found.update(dict.fromkeys(each.members, group))
    return found
