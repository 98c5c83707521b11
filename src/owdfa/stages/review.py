"""Review: look at the groups of a case, and decide on them; each decision is a line of its journal.

    made = review("case").name("novel-7f3a", "FaceForge 2")
    made.sentence

Groups are named by id or by name, images by SHA-256, or how it begins, or by path.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from owdfa.case import Case, Entry
from owdfa.case.actions import Action, Gather, Group, Merge, Move, Name, Reject, Remark, Split
from owdfa.case.lines import GROUPS
from owdfa.case.review import Review, act, describe, open_review, statistics
from owdfa.catalog import nearest
from owdfa.discovery.density import two_parts
from owdfa.discovery.matching import new_id
from owdfa.errors import UserError
from owdfa.images.features import StoredFeatures
from owdfa.records.clusters import Cluster
from owdfa.whitening import unit_length

_SHORT = 6  # digits of a SHA-256 that name an image
_PATHS = 5  # that an error names
_MOST = 1000  # among which the nearest is looked for


class Made(NamedTuple):
    """What was done."""

    sentence: str
    head: str  # hash of the journal's line
    review: Review


class Shown(NamedTuple):
    """A group, and what ``discover`` measured of it."""

    group: Group
    measured: Cluster | None  # None where it was split off since
    paths: dict[str, str]  # of its images, as their verdicts have them


@final
class Reviewer:
    """Looks at a case and decides.

    Args:
        case: Folder of the case, or the case.
        head: Hash of the journal's line that the reviewer saw last; a decision is refused where
            groups have changed since. None for one who decides on what is there.
        who: The reviewer; None for the user of this process.

    Raises:
        UserError: It is no case.
    """

    def __init__(
        self, case: str | Path | Case, *, head: str | None = None, who: str | None = None
    ) -> None:
        self.case = case if isinstance(case, Case) else Case.open(case)
        self.head, self.who = head, who

    def review(self) -> Review:
        """The groups as they are.

        Raises:
            UserError: There are none.
        """
        self.case.journal.reload()  # others may have written meanwhile
        found = open_review(self.case)
        if found.clusters is None:
            raise UserError(
                f"{self.case.folder}: has no groups yet; run owdfa discover {self.case.folder}"
            )
        return found

    def show(self, group: str) -> Shown:
        """One group."""
        found = self.review()
        shown = found.state.find(group)
        files = dict(self._paths())
        paths = {x: files.get(x, "not in the case") for x in sorted(shown.members)}
        return Shown(shown, statistics(found).get(shown.id), paths)

    def log(self) -> list[tuple[Entry, str]]:
        """What was done to groups, in order."""
        self.case.journal.reload()
        return [(each, describe(each)) for each in self.case.entries if each.what in GROUPS]

    def name(self, group: str, name: str) -> Made:
        """Say what type a group is."""
        return self._act(lambda r: Name(group=r.state.find(group).id, name=_plain(name)))

    def merge(self, into: str, groups: Sequence[str]) -> Made:
        """Put groups into another."""
        return self._act(
            lambda r: Merge(
                into=r.state.find(into).id, groups=tuple(r.state.find(x).id for x in groups)
            )
        )

    def split(self, group: str, images: Sequence[str] = ()) -> Made:
        """Make a group of some images of another.

        Args:
            group: That other.
            images: Which; none for the smaller of the two halves that its embeddings fall into.
        """
        chosen = self._images(images) if images else ()

        def decide(review: Review) -> Action:
            found = review.state.find(group)
            own = chosen or self._half(review, found)
            return Split(group=found.id, images=own, new=_new(review, own))

        return self._act(decide)

    def half(self, group: str) -> tuple[str, ...]:
        """What ``split`` would take out of a group that is given no images: SHA-256 of each."""
        review = self.review()
        return self._half(review, review.state.find(group))

    def gather(self, images: Sequence[str]) -> Made:
        """Make a group of images, from wherever they are."""
        chosen = self._images(images)
        return self._act(lambda r: Gather(images=chosen, new=_new(r, chosen)))

    def move(self, images: Sequence[str], to: str) -> Made:
        """Put images into a group."""
        chosen = self._images(images)
        return self._act(lambda r: Move(images=chosen, to=r.state.find(to).id))

    def reject(self, group: str) -> Made:
        """Say that a group is no type."""
        return self._act(lambda r: Reject(group=r.state.find(group).id))

    def note(self, group: str, text: str) -> Made:
        """Remark something of a group."""
        return self._act(lambda r: Remark(group=r.state.find(group).id, text=_plain(text)))

    def undo(self) -> Made:
        """Take back the last decision, whoever's it was."""
        return self._act(lambda r: r.undo())

    def redo(self) -> Made:
        """Do again what was taken back last."""
        return self._act(lambda r: r.redo())

    def _act(self, decide: Callable[[Review], Action]) -> Made:
        self.review()  # says so where there are no groups
        entry, review = act(self.case, decide, head=self.head, who=self.who)
        self.head = None if self.head is None else entry.hash  # they have seen it
        return Made(describe(entry), entry.hash, review)

    def _paths(self) -> list[tuple[str, str]]:
        """SHA-256 and path of each input; a file may lie in several places."""
        rows = self.case.items().rows
        return [(row.sha256, row.path) for row in rows if row.sha256 is not None]

    def _images(self, named: Sequence[str]) -> tuple[str, ...]:
        """SHA-256 of images that are named.

        Raises:
            UserError: One is not in the case, or its name fits several.
        """
        paths = self._paths()
        known = {sha256 for sha256, _ in paths}
        return tuple(
            dict.fromkeys(each if each in known else _image(each, paths) for each in named)
        )

    def _half(self, review: Review, group: Group) -> tuple[str, ...]:
        """The smaller of the two halves that a group falls into."""
        assert review.clusters is not None
        kept = StoredFeatures.open(self.case.folder, review.clusters.embedding)
        images = sorted(group.members)
        lacking = set(kept.missing(images).tolist())
        there = [each for row, each in enumerate(images) if row not in lacking]
        if len(there) < 2:
            raise UserError(
                f"{group.id}: cannot be split by its embeddings, which {len(there)} of its"
                f" {len(images)} images have; name images, or run owdfa discover first"
            )
        rows = unit_length(kept.read(there))
        if not np.ptp(rows, axis=0).any():
            raise UserError(f"{group.id}: all of its images look the same; name images")
        return tuple(x for x, chosen in zip(there, two_parts(rows), strict=True) if chosen)


def _new(review: Review, images: Sequence[str]) -> str:
    """Id of a group that is made of images."""
    return new_id(images, {*review.state.groups, *review.state.gone})


def _plain(text: str) -> str:
    return " ".join(text.split())


def _image(named: str, paths: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of the image that is named."""
    found = {sha256: path for sha256, path in paths if path == named}
    if not found and len(named) >= _SHORT:
        found = {sha256: path for sha256, path in paths if sha256.startswith(named)}
    if not found:
        found = {sha256: path for sha256, path in paths if Path(path).name == named}
    if len(found) == 1:
        return next(iter(found))
    if found:
        fitting = ", ".join(list(found.values())[:_PATHS])
        raise UserError(f"{named}: fits {len(found)} images ({fitting}); name its path")
    near = nearest(named, [path for _, path in paths[:_MOST]])
    known = near if "did you mean" in near else "; name its path, or how its SHA-256 begins"
    raise UserError(f"{named}: no such image in the case{known}")
