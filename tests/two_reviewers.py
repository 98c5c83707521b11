"""Two reviewers of one case, in any order: what each wishes, saw, and was told."""

from typing import NamedTuple

from hypothesis import strategies as st

from owdfa.case import Case
from owdfa.case.actions import Merge, Move, Name, Reject, Remark, Split
from owdfa.case.lines import DISCOVERED, REVIEWED
from owdfa.case.review import ConflictError, Review, act, discovered, open_review
from owdfa.discovery.matching import new_id
from owdfa.errors import UserError
from owdfa.records.clusters import Lineage
from small_case import ATTRIBUTION, attributed

GROUPS = {"novel-aaaa": {"a1", "a2", "a3"}, "novel-bbbb": {"b1", "b2"}, "novel-cccc": {"c1", "c2"}}
IMAGES = sorted(set().union(*GROUPS.values()))
CHANGES = st.one_of(
    st.tuples(st.just("name"), st.integers(0, 4), st.sampled_from("XYZ")),
    st.tuples(st.just("merge"), st.integers(0, 4), st.integers(0, 4)),
    st.tuples(st.just("split"), st.integers(0, 4), st.integers(1, 3)),
    st.tuples(st.just("move"), st.integers(0, 4), st.sampled_from(IMAGES)),
    st.tuples(st.just("reject"), st.integers(0, 4), st.none()),
    st.tuples(st.just("note"), st.integers(0, 4), st.sampled_from(["n", "\u00e9\n\\", '"'])),
)
WISHES = st.one_of(
    CHANGES,
    st.tuples(st.sampled_from(["undo", "redo", "add", "discover"]), st.none(), st.none()),
)
TURNS = st.lists(st.tuples(st.integers(0, 1), st.booleans(), WISHES), max_size=8)
"""Who, whether they look first, and what they wish."""


class Acknowledged(NamedTuple):
    """What somebody was told to be done."""

    size: int  # bytes of the journal
    review: Review
    items: list


class Player(NamedTuple):
    """A reviewer with a case that stays open."""

    who: str
    case: Case
    seen: list[str]  # the head that they saw last


def decision(review, wish):
    """The action that a wish means for the groups as they are."""
    kind, group, more = wish
    ids = sorted(review.state.groups)
    if kind in ("undo", "redo"):
        return getattr(review, kind)()
    group = ids[group % len(ids)]
    if kind == "merge":
        return Merge(into=group, groups=(ids[more % len(ids)],))
    if kind == "split":
        images = tuple(sorted(review.state.groups[group].members)[:more])
        new = new_id(images, {*review.state.groups, *review.state.gone})
        return Split(group=group, images=images, new=new)
    if kind == "move":
        return Move(images=(more,), to=group)
    made = {"name": Name, "reject": Reject, "note": Remark}
    values = {"name": {"name": more}, "reject": {}, "note": {"text": more}}
    return made[kind](group=group, **values[kind])


def found_again(review):
    """What ``discover`` leaves where it finds the groups that there are."""
    (some, *_) = review.clusters.clusters
    clusters = tuple(
        some.model_copy(
            update={
                "id": group.id, "members": tuple(sorted(group.members)),
                "held": tuple(sorted(group.held)), "name": group.name, "named": group.named,
                "rejected": group.rejected, "notes": group.notes,
                "lineage": Lineage(change="same", num_before=len(group.members)),
            }
        )
        for group in review.state.groups.values()
    )  # fmt: skip
    update = {"clusters": clusters, "gone": dict(review.state.gone)}
    return review.clusters.model_copy(update=update)


def do(player, wish):
    """Do what a player wishes; when this returns, they were told that it is done."""
    kind, case = wish[0], player.case
    if kind == "add":
        file = case.folder.parent / "a.png"
        file.write_bytes(b"%d" % (len(case.entries) % 2))  # one of two files, once and again
        case.add([attributed(file)], ATTRIBUTION, who=player.who)
    elif kind == "discover":
        discovered(case, found_again, note={}, who=player.who)
    else:
        entry, review = act(case, lambda r: decision(r, wish), head=player.seen[-1], who=player.who)
        player.seen.append(entry.hash)
        assert review == open_review(case)


def now(folder):
    """The state on the disk, read by nobody before."""
    case = Case.open(folder)
    return Acknowledged(case.journal.content.size, open_review(case), list(case.items()))


def play(folder, turns):
    """Let two reviewers take turns: what was acknowledged, the last one last."""
    players = [Player(f"r{n}", case, [case.head]) for n in (0, 1) for case in [Case.open(folder)]]
    acknowledged = [now(folder)]
    for who, looks_first, wish in turns:
        player = players[who]
        if looks_first:
            player.case.journal.reload()
            player.seen.append(player.case.head)
        before = player.case.journal.path.read_bytes()
        since = _changes_since(folder, player.seen[-1])
        try:
            do(player, wish)
        except ConflictError as error:
            assert since
            assert list(error.since) == since  # noqa: PT017  see below for who is not refused
            assert player.case.journal.path.read_bytes() == before
        except UserError:
            assert not since  # whoever saw less is told so first
            assert player.case.journal.path.read_bytes() == before
        else:
            assert not since or wish[0] in ("add", "discover")
            acknowledged.append(now(folder))
        same_for_all(folder, players)
    return acknowledged


def same_for_all(folder, players):
    """A case that stays open follows the journal: it says what one that is opened says."""
    fresh = Case.open(folder)
    for player in players:
        player.case.journal.reload()
        assert player.case.entries == fresh.entries
        assert open_review(player.case) == open_review(fresh)
        assert list(player.case.items()) == list(fresh.items())
        assert player.case.attributions() == fresh.attributions()


def _changes_since(folder, head):
    """Lines on groups that were added since a head."""
    entries = Case.open(folder).entries
    place = [entry.hash for entry in entries].index(head)
    return [e for e in entries[place + 1 :] if e.what in (REVIEWED, DISCOVERED)]
