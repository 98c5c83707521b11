"""Why a verdict is another one with another run: a pure function of the two, and of the case."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from owdfa.calibration.statements import FLOOR
from owdfa.records import verdict as records
from owdfa.records.calibration import Statement as StatementKind
from owdfa.records.verdict import FORGED, Attribution, Outcome, Verdict

Kind = Literal[
    "named", "learnt", "forgotten", "threshold", "probability", "stability", "rule", "same"
]
HEADINGS: dict[Kind, str] = {
    "named": "named in this case, and a known type of this run",
    "learnt": "known to this run alone",
    "forgotten": "known to the earlier run alone",
    "threshold": "another threshold",
    "probability": "another probability",
    "stability": "stable in one of the runs alone",
    "rule": "crops are made otherwise, or none can be made",
    "same": "the same",
}
"""Kinds of change, in the order in which they are told."""

_LEAST_OVERLAP = 0.3  # intersection over union of the boxes of one face, by two detectors
_RANKS: tuple[StatementKind, ...] = ("class", "novel", "family", "forged", "real")
_RULES = {
    "faces": "faces by {}",
    "store_size": "crops of {} pixels",
    "fit": "crops by {}",
    "min_size": "least size {} pixels",
    "min_quality": "least JPEG quality {}",
    "decoder": "decoded by {}",
}


class Side(NamedTuple):
    """A verdict of a face, and what it rests on."""

    verdict: Verdict | None  # None where the face was not found
    made: Attribution


class Group(NamedTuple):
    """A group of a case that a reviewer named."""

    id: str
    name: str
    who: str
    promoted: bool


class Change(NamedTuple):
    """What became of a verdict."""

    kind: Kind
    reason: str  # empty where it is the same


class _Said(NamedTuple):
    """A statement."""

    kind: StatementKind
    name: str | None

    @property
    def words(self) -> str:
        """It in words."""
        return {
            "class": f"type {self.name!r}",
            "novel": "like no known type",
            "family": f"family {self.name!r}",
            "forged": "not real",
            "real": "like the real images",
        }[self.kind]

    def unknown_to(self, run: str) -> str:
        """That a run cannot say it."""
        known = self.kind in ("class", "family")
        return (
            f"{self.words} is not known to {run}" if known else f"{run} never says {self.words!r}"
        )


def pair_faces(
    before: Sequence[Verdict], now: Sequence[Verdict]
) -> list[tuple[Verdict | None, Verdict | None]]:
    """Which verdicts are of the same face, those that overlap most first; None for no partner."""
    overlaps = [(_overlap(a, b), i, j) for i, a in enumerate(before) for j, b in enumerate(now)]
    partner: dict[int, int] = {}
    for overlap, i, j in sorted(overlaps, key=lambda each: (-each[0], *each[1:])):
        if overlap >= _LEAST_OVERLAP and i not in partner and j not in partner.values():
            partner[i] = j
    pairs = [(each, now[partner[i]] if i in partner else None) for i, each in enumerate(before)]
    alone = [each for j, each in enumerate(now) if j not in partner.values()]
    return [*pairs, *((None, each) for each in alone)]


def _overlap(one: Verdict, other: Verdict) -> float:
    """Intersection over union; of tracks, in the frames that either was seen in."""
    if one.track is None or other.track is None:
        return _box_overlap(one.box, other.box)
    frames = [{frame.time: frame.box for frame in t.frames} for t in (one.track, other.track)]
    common = frames[0].keys() & frames[1].keys()
    total = sum(_box_overlap(frames[0][time], frames[1][time]) for time in common)
    return total / len(frames[0].keys() | frames[1].keys())


def _box_overlap(one: records.Box | None, other: records.Box | None) -> float:
    if one is None or other is None:  # a whole image is any face of it, if nothing is nearer
        return 1.0 if one is other else _LEAST_OVERLAP
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    inside = max(width, 0) * max(height, 0)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return inside / max(sum(areas) - inside, 1)


def explain(before: Side, now: Side, group: Group | None) -> Change:
    """What became of a verdict, and why.

    Args:
        before: The verdict that holds.
        now: That of the other run.
        group: The group of the file, where one was named.
    """
    if before.verdict is None or now.verdict is None:
        where = "now alone" if before.verdict is None else "by the earlier run alone"
        return Change("rule", f"a face that was found {where}{_rules(before.made, now.made)}")
    outcomes = before.verdict.outcome, now.verdict.outcome
    if _alike(*outcomes):
        return Change("same", "")
    if refused := [each for each in outcomes if each.kind == "not-applicable"]:
        details = "; ".join(each.detail or each.brief for each in refused)
        return Change("rule", f"{details}{_rules(before.made, now.made)}")
    said = [_said(each) for each in outcomes]
    if said[0] is None and said[1] is None:  # unsure, and unstable
        return Change("stability", "; ".join(each.detail for each in outcomes if each.detail))
    if said[1] is None or (said[0] is not None and _rank(said[0]) < _rank(said[1])):
        assert said[0] is not None
        return _why_not(said[0], before, now, group, is_new=False)
    return _why_not(said[1], now, before, group, is_new=True)


def _alike(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes say the same; what a run calls its novel types is its own affair."""
    if one.kind == other.kind == "novel":
        return True
    return (one.kind, one.name, one.reason) == (other.kind, other.name, other.reason)


def _said(outcome: Outcome) -> _Said | None:
    if outcome.kind == "family" and outcome.name == FORGED:
        return _Said("forged", None)
    kinds: Mapping[str, StatementKind] = {
        "known": "class", "novel": "novel", "family": "family", "real-consistent": "real"
    }  # fmt: skip
    kind = kinds.get(outcome.kind)
    named = kind in ("class", "family")
    return None if kind is None else _Said(kind, outcome.name if named else None)


def _rank(said: _Said) -> int:
    return _RANKS.index(said.kind)


def _why_not(said: _Said, by: Side, other: Side, group: Group | None, *, is_new: bool) -> Change:
    """Why the other side does not say what one side says.

    Args:
        said: The more particular of what the two say.
        by: The side that says it.
        other: The other side.
        group: Of the file.
        is_new: Whether it is said now.
    """
    assert other.verdict is not None
    if not _can_say(said, other.made):
        if not is_new:
            return Change("forgotten", said.unknown_to("this run"))
        return _learnt(said, other.verdict.outcome, group)
    limits = [each.made.calibration.find(said.kind) for each in (by, other)]
    chances = [_probability(said, each) for each in (by, other)]
    needed = [each.threshold if each else 1.0 for each in limits]
    numbers = [f"{c:.2f} (needed: {n:.2f})" for c, n in zip(chances, needed, strict=True)]
    first, last = numbers[::-1] if is_new else numbers
    reason = f"{said.words}: probability {first} before, {last} now"
    if other.verdict.outcome.reason == "unstable":
        return Change("stability", f"{reason}; {other.verdict.outcome.detail}")
    if chances[1] > needed[1]:
        return _held_back(said, other, reason)
    return Change("threshold" if chances[1] > needed[0] else "probability", reason)


def _can_say(said: _Said, made: Attribution) -> bool:
    calibration = made.calibration
    if said.kind == "class":
        return said.name in calibration.known and said.name not in calibration.real
    if said.kind == "family":
        return said.name in calibration.families.values()
    if said.kind == "novel":
        return len(made.classes) > made.num_known
    return bool(calibration.real)


def _learnt(said: _Said, before: Outcome, group: Group | None) -> Change:
    """Why something is said that the earlier run could not say."""
    if group is not None and (said.kind, said.name) == ("class", group.name):
        promoted = ", promoted" if group.promoted else ""
        return Change(
            "named",
            f"{before.brief} before; its group {group.id} was named {group.name!r} by {group.who}"
            f"{promoted}, and is a known type of this run",
        )
    against = f"; its group {group.id} is named {group.name!r}" if group else ""
    return Change("learnt", f"{said.unknown_to('the earlier run')}{against}")


def _held_back(said: _Said, side: Side, reason: str) -> Change:
    """Why a side does not say what passes its threshold."""
    assert side.verdict is not None
    changed = [
        f"{each.outcome.label} after {each.change}"
        for each in side.verdict.stability
        if _said(each.outcome) != said or (each.probability or 0.0) <= FLOOR
    ]
    if changed:
        return Change("stability", f"{reason}; {', '.join(changed)}")
    return Change("threshold", f"{reason}; but not surely enough that it is not real")


def _probability(said: _Said, side: Side) -> float:
    """Probability of a statement: exact where it is made, else by the five likeliest classes."""
    verdict, calibration = side.verdict, side.made.calibration
    assert verdict is not None
    if _said(verdict.outcome) == said and said.kind != "novel":
        return verdict.probability or 0.0
    real, families = calibration.real, calibration.families
    found = 0.0
    for each in verdict.alternatives:
        fits = {
            "class": not each.novel and each.name == said.name,
            "novel": each.novel,
            "family": not each.novel and families.get(each.name) == said.name,
            "forged": each.novel or each.name not in real,
            "real": not each.novel and each.name in real,
        }
        found += each.probability if fits[said.kind] else 0.0
    return min(found, 1.0)


def _rules(before: Attribution, now: Attribution) -> str:
    """How crops are made otherwise."""
    found = []
    for name, text in _RULES.items():
        values = getattr(before, name), getattr(now, name)
        if values[0] != values[1]:
            found.append(f"{text.format(values[0])} before, {values[1]} now")
    return "".join(f"; {each}" for each in found)
