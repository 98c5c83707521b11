"""What reviewers may do to the groups of a case: each is one line of its journal.

``apply`` is a pure function of a state and an action; the state of a case is its actions applied in
order, so that undo is the state before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from owdfa.catalog import nearest
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.records.clusters import Note, Signature

Ids = Annotated[tuple[str, ...], Field(min_length=1)]


class Name(Settings):
    """Say what type a group is; it is no longer rejected then."""

    action: Literal["name"] = "name"
    group: str
    name: str

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f'named {self.group} "{self.name}"'


class Merge(Settings):
    """Put groups into another, which keeps its id, and its name if it has one."""

    action: Literal["merge"] = "merge"
    into: str
    groups: Ids

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"merged {', '.join(self.groups)} into {self.into}"


class Split(Settings):
    """Make a group of its own of some images of another."""

    action: Literal["split"] = "split"
    group: str
    images: Ids
    new: str
    """Id of the group that is made."""

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"split {_counted(self.images)} off {self.group}, as {self.new}"


class Move(Settings):
    """Put images into a group, from wherever they are."""

    action: Literal["move"] = "move"
    images: Ids
    to: str

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"moved {_counted(self.images)} to {self.to}"


class Gather(Settings):
    """Make a group of images, from wherever they are: of several groups, or of none."""

    action: Literal["gather"] = "gather"
    images: Ids
    new: str
    """Id of the group that is made."""

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"made {self.new} of {_counted(self.images)}"


class Reject(Settings):
    """Say that a group is no type: it keeps its images, so that they do not come back as one."""

    action: Literal["reject"] = "reject"
    group: str

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"rejected {self.group}"


class Remark(Settings):
    """Note something of a group."""

    action: Literal["note"] = "note"
    group: str
    text: str

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f'noted of {self.group}: "{self.text}"'


class Undo(Settings):
    """Take back the last action that was not taken back."""

    action: Literal["undo"] = "undo"
    of: int
    """Number of its line in the journal."""

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"took back line {self.of}"


class Redo(Settings):
    """Do again what was taken back last, where nothing else was done since."""

    action: Literal["redo"] = "redo"
    of: int

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        return f"did line {self.of} again"


Change = Name | Merge | Split | Move | Gather | Reject | Remark
Action = Change | Undo | Redo
ACTION: TypeAdapter[Action] = TypeAdapter(Annotated[Action, Field(discriminator="action")])


@dataclass(frozen=True)
class Group:
    """A group of images, by SHA-256 of their files."""

    id: str
    members: frozenset[str]
    held: frozenset[str] = frozenset()
    """Members that a reviewer decided on: they stay, whatever is found anew."""
    name: str | None = None
    named: Signature | None = None
    rejected: Signature | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class State:
    """The groups of a case; never changed, only replaced."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    gone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids that are no longer in use, and of the groups that their images went to."""

    def find(self, text: str) -> Group:
        """The group of an id, or of a name.

        Raises:
            UserError: There is none; the nearest is given.
        """
        if text in self.groups:
            return self.groups[text]
        named = [each for each in self.groups.values() if each.name == text]
        if named:
            return named[0]
        if text in self.gone:
            went = ", ".join(self.gone[text]) or "no group"
            raise UserError(f"{text}: is no more; its images went to {went}")
        names = [*self.groups, *(each.name for each in self.groups.values() if each.name)]
        if not names:
            raise UserError(f"{text}: no such group; there are none (owdfa discover makes them)")
        raise UserError(f"{text}: no such group{nearest(text, names)}")

    def with_groups(
        self, changed: Iterable[Group], gone: Mapping[str, tuple[str, ...]] | None = None
    ) -> "State":
        """The same with some groups put in place, and some gone."""
        groups = {**self.groups, **{each.id: each for each in changed}}
        for id_ in gone or {}:
            del groups[id_]
        return State(groups, {**self.gone, **(gone or {})})


def apply(state: State, change: Change, by: Signature) -> State:
    """The state after a change.

    Args:
        state: Before it.
        change: What is done.
        by: Who does it.

    Raises:
        UserError: It cannot be done.
    """
    match change:
        case Name():
            return _name(state, change, by)
        case Merge():
            return _merge(state, change)
        case Split():
            return _split(state, change)
        case Move():
            return _moved(state, state.find(change.to), change.images)
        case Gather():
            _check_new(state, change.new)
            return _moved(state, Group(change.new, frozenset()), change.images)
        case Reject():
            group = _held(state.find(change.group))
            return state.with_groups([replace(group, rejected=by)])
        case Remark():
            group = state.find(change.group)
            note = Note(text=_some(change.text, "a note"), by=by)
            return state.with_groups([replace(group, notes=(*group.notes, note))])


def _name(state: State, change: Name, by: Signature) -> State:
    group, name = state.find(change.group), _some(change.name, "a name")
    for other in state.groups.values():
        if other.id != group.id and (other.name or "").casefold() == name.casefold():
            raise UserError(
                f"{name}: is the name of {other.id}; merge the two, or choose another name"
            )
    return state.with_groups([replace(_held(group), name=name, named=by, rejected=None)])


def _merge(state: State, change: Merge) -> State:
    into = state.find(change.into)
    others = [state.find(each) for each in change.groups]
    ids = [each.id for each in (into, *others)]
    if len(set(ids)) < len(ids):
        raise UserError(f"merge {' '.join(ids)}: names a group twice; name each once")
    named = next((each for each in (into, *others) if each.name), into)
    members = into.members.union(*(each.members for each in others))
    merged = replace(
        into,
        members=members,
        held=members,
        name=named.name,
        named=named.named,
        notes=(*into.notes, *(note for each in others for note in each.notes)),
    )
    return state.with_groups([merged], {each.id: (into.id,) for each in others})


def _split(state: State, change: Split) -> State:
    group, images = state.find(change.group), frozenset(change.images)
    if foreign := images - group.members:
        raise UserError(f"{min(foreign)[:12]}: is not in {group.id}; name images of that group")
    if images == group.members:
        raise UserError(f"{group.id}: all of its images were named; leave some of them in it")
    _check_new(state, change.new)
    rest = group.members - images
    new = Group(change.new, images, images)
    return state.with_groups([replace(group, members=rest, held=rest), new])


def _moved(state: State, to: Group, chosen: Iterable[str]) -> State:
    """The state after images went to a group, which may be new."""
    images = frozenset(chosen)
    changed = [replace(to, members=to.members | images, held=to.held | images)]
    for group in state.groups.values():
        if group.id == to.id or not group.members & images:
            continue
        if not group.members - images:
            merge = f"merge it instead: merge {to.id} {group.id}"
            remedy = merge if to.id in state.groups else "leave some of its images in it"
            raise UserError(f"{group.id}: would be empty; {remedy}")
        changed.append(replace(group, members=group.members - images, held=group.held - images))
    return state.with_groups(changed)


def _check_new(state: State, id_: str) -> None:
    if id_ in state.groups or id_ in state.gone:
        raise UserError(f"{id_}: is in use; do it again")


def _held(group: Group) -> Group:
    return replace(group, held=group.members)


def _some(text: str, what: str) -> str:
    if not text.strip():
        raise UserError(f"{what} needs some text; give one")
    return text


def _counted(images: tuple[str, ...]) -> str:
    return "1 image" if len(images) == 1 else f"{len(images)} images"
