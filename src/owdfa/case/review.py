"""The review of a case: its groups as they are, by replaying its journal.

    review = open_review(case)
    act(case, lambda review: Name(group=review.state.find("novel-7f3a").id, name="FaceForge 2"))

``discovered`` is a line of the journal that names a file of ``clusters/`` by its SHA-256; a line
``reviewed`` holds an action. Files before the last are kept, and not read: each holds what had been
decided by then. Undo reaches back to the last of them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from owdfa.case.actions import (
    ACTION,
    Action,
    Group,
    Redo,
    State,
    Undo,
    apply,
)
from owdfa.case.case import Case
from owdfa.case.following import Followed
from owdfa.case.journal import Entry, read_bytes
from owdfa.case.lines import DISCOVERED, PROMOTED, REVIEWED, cluster_problems, digest_of
from owdfa.errors import UserError
from owdfa.files import write_text
from owdfa.records.clusters import Cluster, Clusters, Signature
from owdfa.runs.lock import BusyError

_FOLDER = "clusters"
_SHORT = 6  # the fewest digits by which a line of the journal is named
_TOLD = 3  # changes that a conflict names
_TIMEOUT, _POLL_SECONDS = 10.0, 0.05


class ConflictError(UserError):
    """Another reviewer has done something since.

    Attributes:
        since: Lines of the journal that were added.
    """

    def __init__(self, message: str, since: Sequence[Entry]) -> None:
        super().__init__(message)
        self.since = tuple(since)


class Step(NamedTuple):
    """Something that was done, and can be taken back."""

    entry: Entry
    before: State
    after: State


@dataclass(frozen=True)
class Review:
    """The groups of a case.

    Attributes:
        state: As they are.
        done: What can be taken back, the last one last.
        undone: What can be done again, the next one last.
        clusters: What ``discover`` found last; None before.
    """

    state: State = field(default_factory=State)
    done: tuple[Step, ...] = ()
    undone: tuple[Step, ...] = ()
    clusters: Clusters | None = None

    def after(self, action: Action, entry: Entry) -> "Review":
        """The review after one more action.

        Args:
            action: What is done.
            entry: The line of the journal; its number, who and when count.

        Raises:
            UserError: It cannot be done.
        """
        match action:
            case Undo():
                step = _last(self.done, "nothing to undo", action.of)
                return Review(step.before, self.done[:-1], (*self.undone, step), self.clusters)
            case Redo():
                step = _last(self.undone, "nothing to redo", action.of)
                return Review(step.after, (*self.done, step), self.undone[:-1], self.clusters)
        by = Signature(who=entry.who, time=entry.time, line=entry.hash)
        made = apply(self.state, action, by)
        return Review(made, (*self.done, Step(entry, self.state, made)), (), self.clusters)

    def undo(self) -> Undo:
        """What takes back the last action.

        Raises:
            UserError: There is none.
        """
        return Undo(of=_last(self.done, "nothing to undo").entry.seq)

    def redo(self) -> Redo:
        """What does again what was taken back last.

        Raises:
            UserError: There is nothing.
        """
        return Redo(of=_last(self.undone, "nothing to redo").entry.seq)


_reviews: WeakKeyDictionary[Case, Followed[Review]] = WeakKeyDictionary()


def open_review(case: Case) -> Review:
    """The groups of a case, by its journal as it was read; what was replayed before is kept.

    Raises:
        UserError: A file of groups was altered, or a line is of a version that this one does not
            read.
    """
    read = partial(read_clusters, case.folder)
    followed = _reviews.setdefault(case, Followed(Review(), partial(replay, read=read)))
    return followed.of(case.entries)


def replay(before: Review, entries: Sequence[Entry], read: Callable[[Entry], Clusters]) -> Review:
    """Replay lines of a journal.

    Args:
        before: The review before them.
        entries: The lines.
        read: Reads the groups that a line ``discovered`` names.

    Raises:
        UserError: A line is of a version that this one does not read.
    """
    review, rest = before, entries
    for number in reversed(range(len(entries))):
        if entries[number].what == DISCOVERED:
            clusters = read(entries[number])
            review, rest = Review(state_of(clusters), clusters=clusters), entries[number + 1 :]
            break
    for entry in rest:
        if entry.what == REVIEWED:
            review = review.after(action_of(entry), entry)
    return review


def act(
    case: Case,
    decide: Callable[[Review], Action],
    *,
    head: str | None = None,
    who: str | None = None,
) -> tuple[Entry, Review]:
    """Do something to the groups of a case; when this returns, it is on the disk.

    Nobody else writes between what ``decide`` sees and what is written.

    Args:
        case: The case.
        decide: Makes the action of the review as it is.
        head: Hash of the journal's line that the reviewer saw last, or how it begins; None where
            they see what ``decide`` sees.
        who: Who does it; None for the user of this process.

    Returns:
        The line of the journal, and the review after it.

    Raises:
        ConflictError: Groups have changed since ``head``; nothing is written.
        UserError: It cannot be done, or another process is writing to the case.
    """
    with write_alone(case):
        review = open_review(case)
        if head is not None:
            check_head(case, head)
        action = decide(review)
        # Tried before it is written: what is in the journal can be replayed.
        planned = Entry(len(case.entries) + 1, "", "", REVIEWED, {}, case.head)
        review.after(action, planned)
        entry = case.record(REVIEWED, action.model_dump(mode="json"), who=who)
        return entry, review.after(action, entry)


def discovered(
    case: Case, make: Callable[[Review], Clusters], *, note: dict[str, str], who: str | None = None
) -> Clusters:
    """Write what ``discover`` found; nobody else writes meanwhile.

    Args:
        case: The case.
        make: Makes the groups, of the review as it is.
        note: What else the journal is to say.
        who: Who did it; None for the user of this process.

    Raises:
        UserError: Another process is writing to the case, or it cannot be written.
    """
    with write_alone(case):
        clusters = make(open_review(case))
        text = clusters.model_dump_json(by_alias=True) + "\n"
        digest = digest_of(text.encode())
        place = f"{_FOLDER}/{digest[:16]}.json"
        write_text(case.folder / place, text)
        about = {"groups": len(clusters.clusters), "images": clusters.num_images}
        case.record(DISCOVERED, {"file": place, "sha256": digest, **about, **note}, who=who)
        return clusters


@contextmanager
def write_alone(case: Case) -> Iterator[None]:
    """Write to a case; wait a while for another who does, in this process or in another.

    Raises:
        BusyError: The other takes longer.
    """
    deadline = time.monotonic() + _TIMEOUT
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(case.writing())
                break
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
        yield


def check_head(case: Case, head: str) -> None:
    """Refuse to go on from what is no longer so.

    Raises:
        ConflictError: Groups have changed since ``head``.
        UserError: No line of the journal has that hash.
    """
    seen = [n for n, entry in enumerate(case.entries) if entry.hash.startswith(head)]
    if len(head) < _SHORT or not seen:
        raise UserError(
            f"--head {head}: is the hash of no line of {case.journal.path}; owdfa review"
            f" {case.folder} list prints the last one"
        )
    since = [e for e in case.entries[seen[0] + 1 :] if e.what in (REVIEWED, DISCOVERED)]
    if since:
        told = "; ".join(f"{entry.who} {describe(entry)}" for entry in since[-_TOLD:])
        more = f", and {len(since) - _TOLD} more before" if len(since) > _TOLD else ""
        raise ConflictError(
            f"{case.folder}: changed since {head}: {told}{more}; nothing was done, look at it again"
            f" and give --head {case.head[:12]}",
            since,
        )


def describe(entry: Entry) -> str:
    """What a line of the journal says was done to groups, in words."""
    if entry.what == REVIEWED:
        return action_of(entry).sentence
    data = entry.data
    if entry.what == DISCOVERED:
        return f"found {data['groups']} groups of {data['images']} images"
    return f"promoted {', '.join(data['classes'])}" if entry.what == PROMOTED else entry.what


def action_of(entry: Entry) -> Action:
    """The action of a line.

    Raises:
        UserError: This version does not know it.
    """
    try:
        return ACTION.validate_python(entry.data, strict=False)
    except ValidationError:
        raise UserError(
            f"line {entry.seq} of the journal holds an action that this version does not read; use"
            " the version that wrote it"
        ) from None


def state_of(clusters: Clusters) -> State:
    """The groups as ``discover`` left them."""
    groups = {
        each.id: Group(
            id=each.id,
            members=frozenset(each.members),
            held=frozenset(each.held),
            name=each.name,
            named=each.named,
            rejected=each.rejected,
            notes=each.notes,
        )
        for each in clusters.clusters
    }
    return State(groups, dict(clusters.gone))


def statistics(review: Review) -> dict[str, Cluster]:
    """What ``discover`` measured of each group, by id, of those that it left."""
    return {each.id: each for each in review.clusters.clusters} if review.clusters else {}


def read_clusters(folder: Path, entry: Entry) -> Clusters:
    """Read the groups that a line of the journal names.

    Raises:
        UserError: They are missing or were altered.
    """
    if problems := cluster_problems(folder, [entry]):
        raise UserError(f"{problems[0]}; restore it from a copy")
    path = folder / entry.data["file"]
    try:
        return Clusters.model_validate_json(read_bytes(path))
    except ValidationError:
        raise UserError(
            f"{path}: holds groups that this version does not read; use the version that wrote it"
        ) from None


def _last(steps: tuple[Step, ...], problem: str, of: int | None = None) -> Step:
    if not steps or (of is not None and steps[-1].entry.seq != of):
        raise UserError(f"{problem} (of what came before owdfa discover, nothing is taken back)")
    return steps[-1]
