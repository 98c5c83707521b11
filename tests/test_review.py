"""Review: every decision is a line of the journal, and the groups are the journal replayed."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owdfa.case import Case, check
from owdfa.case.actions import Gather, Merge, Move, Name, Reject, Split
from owdfa.case.review import ConflictError, act, discovered, open_review
from owdfa.errors import UserError
from owdfa.stages.discover import DiscoverOptions
from owdfa.stages.discover.clusters import About, Grouped, Pile, make_clusters
from owdfa.stages.review import Reviewer
from small_groups import by_hand, predictor
from two_reviewers import GROUPS, IMAGES, TURNS, play

FAST = settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.fixture
def case(tmp_path):
    return by_hand(tmp_path / "case", GROUPS)


def groups(case):
    """Images and name of each group, by the journal on the disk."""
    state = open_review(Case.open(case.folder)).state
    return {id_: (set(group.members), group.name) for id_, group in state.groups.items()}


def test_what_is_decided_is_in_the_journal_and_the_groups(case):
    ann, bob = (Reviewer(case.folder, who=who) for who in ("ann", "bob"))
    ann.name("novel-aaaa", " FaceForge  2 ")
    bob.merge("FaceForge 2", ["novel-bbbb"])
    made = ann.note("novel-cccc", "same banner")
    assert groups(case) == {
        "novel-aaaa": ({"a1", "a2", "a3", "b1", "b2"}, "FaceForge 2"),
        "novel-cccc": ({"c1", "c2"}, None),
    }
    assert [(entry.who, text) for entry, text in ann.log()] == [
        ("ann", "found 3 groups of 9 images"),
        ("ann", 'named novel-aaaa "FaceForge 2"'),
        ("bob", "merged novel-bbbb into novel-aaaa"),
        ("ann", 'noted of novel-cccc: "same banner"'),
    ]
    named = made.review.state.groups["novel-aaaa"].named
    assert (named.who, named.line) == ("ann", ann.case.entries[2].hash)
    assert check(case.folder) == []


def test_a_reviewer_sees_what_another_has_done_meanwhile(case):
    ann, bob = Reviewer(case.folder), Reviewer(case.folder)
    assert len(bob.log()) == 1
    ann.name("novel-aaaa", "X")
    assert bob.show("X").group.id == "novel-aaaa"
    assert len(bob.log()) == 2


def test_split_and_move_and_reject(case):
    act(case, lambda r: Split(group="novel-aaaa", images=("a3",), new="novel-dddd"))
    act(case, lambda r: Move(images=("b2", "a2"), to="novel-dddd"))
    act(case, lambda r: Reject(group="novel-cccc"))
    state = open_review(case).state
    assert state.groups["novel-dddd"].members == {"a3", "b2", "a2"}
    assert state.groups["novel-dddd"].held == {"a3", "b2", "a2"}
    assert state.groups["novel-bbbb"].members == {"b1"}
    assert state.groups["novel-cccc"].rejected.who
    act(case, lambda r: Name(group="novel-cccc", name="X"))
    assert open_review(case).state.groups["novel-cccc"].rejected is None


def test_a_group_is_made_of_images_of_several_groups_and_of_none(case):
    act(case, lambda r: Gather(images=("a1", "b1", "z9"), new="novel-dddd"))
    state = open_review(case).state
    assert (
        state.groups["novel-dddd"].members == state.groups["novel-dddd"].held == {"a1", "b1", "z9"}
    )
    assert state.groups["novel-aaaa"].members == {"a2", "a3"}
    assert "made novel-dddd of 3 images" in [text for _, text in Reviewer(case.folder).log()]
    act(case, lambda r: r.undo())
    assert "novel-dddd" not in open_review(case).state.groups


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (Name(group="novel-aaab", name="X"), "no such group; did you mean 'novel-aaaa'"),
        (Name(group="novel-aaaa", name="  "), "a name needs some text"),
        (Merge(into="novel-aaaa", groups=("novel-aaaa",)), "names a group twice"),
        (Split(group="novel-aaaa", images=("b1",), new="novel-d"), "b1: is not in novel-aaaa"),
        (Split(group="novel-bbbb", images=("b1", "b2"), new="novel-d"), "leave some"),
        (Split(group="novel-aaaa", images=("a1",), new="novel-bbbb"), "is in use"),
        (Move(images=("b1", "b2"), to="novel-aaaa"), "merge novel-aaaa novel-bbbb"),
        (Gather(images=("b1", "b2"), new="novel-d"), "novel-bbbb: would be empty; leave some"),
        (Gather(images=("b1",), new="novel-cccc"), "is in use"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_leaves_no_line(case, action, line):
    before = case.journal.path.read_bytes()
    with pytest.raises(UserError, match=line):
        act(case, lambda r: action)
    assert case.journal.path.read_bytes() == before


def test_a_name_is_given_once_and_a_group_that_is_no_more_is_told(case):
    ann = Reviewer(case.folder)
    ann.name("novel-aaaa", "X")
    with pytest.raises(UserError, match="is the name of novel-aaaa; merge the two"):
        ann.name("novel-bbbb", "x")
    ann.merge("novel-aaaa", ["novel-bbbb"])
    with pytest.raises(UserError, match="novel-bbbb: is no more; its images went to novel-aaaa"):
        ann.name("novel-bbbb", "Y")


def test_a_reviewer_who_saw_less_is_told_what_changed(case):
    ann, bob = (Reviewer(case.folder, who=who, head=case.head[:12]) for who in ("ann", "bob"))
    ann.name("novel-aaaa", "X")
    ann.note("novel-aaaa", "mine")  # one's own changes are no conflict
    with pytest.raises(ConflictError, match=r'ann named novel-aaaa "X".*nothing was') as error:
        bob.reject("novel-aaaa")
    assert "\n" not in str(error.value)
    assert [entry.who for entry in error.value.since] == ["ann", "ann"]
    Reviewer(case.folder, who="bob", head=Case.open(case.folder).head).reject("novel-bbbb")
    case.journal.reload()
    case.record("attributed", {"files": [], "attribution": {}, "run": "x"})  # no group changed
    Reviewer(case.folder, who="bob", head=case.entries[-2].hash).note("novel-bbbb", "no")
    for head in ("abc", "f" * 12):
        with pytest.raises(UserError, match="is the hash of no line"):
            Reviewer(case.folder, head=head).undo()


def test_reviewers_in_several_processes_and_threads_lose_nothing(case):
    code = (
        "import sys; from threading import Thread; from owdfa.stages.review import Reviewer\n"
        "def work(n):\n"
        "    for i in range(4): Reviewer(sys.argv[1], who=n).note('novel-aaaa', f'{n} {i}')\n"
        "threads = [Thread(target=work, args=(f'{sys.argv[2]}{t}',)) for t in 'xy']\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(case.folder), who], stderr=subprocess.PIPE
        )
        for who in "ab"
    ]
    assert [process.communicate()[1] for process in started] == [b"", b""]
    notes = open_review(Case.open(case.folder)).state.groups["novel-aaaa"].notes
    wanted = sorted(f"{who}{t} {i}" for who in "ab" for t in "xy" for i in range(4))
    assert sorted(note.text for note in notes) == wanted
    assert check(case.folder) == []


def test_nothing_before_the_groups_were_made_is_taken_back(case):
    with pytest.raises(UserError, match="nothing to undo"):
        Reviewer(case.folder).undo()
    with pytest.raises(UserError, match="nothing to redo"):
        Reviewer(case.folder).redo()


@FAST
@given(turns=TURNS, found=st.lists(st.integers(-1, 3), min_size=9, max_size=9))
def test_names_and_decisions_survive_whatever_is_found_anew(tmp_path_factory, turns, found):
    folder = tmp_path_factory.mktemp("c")
    case = by_hand(folder / "case", GROUPS)
    play(case.folder, turns)
    case.journal.reload()
    before = open_review(case).state
    images = [*IMAGES, "n1", "n2"]
    rows = np.eye(9, dtype=np.float32)
    numbers = np.unique(found, return_inverse=True)[1] - (-1 in found)
    grouped = Grouped(images, rows, numbers, rows)
    options = DiscoverOptions(num_parts=0)
    about = About(case, predictor(), Pile({}, {}, images, []), options, 0)
    discovered(case, lambda review: make_clusters(review, grouped, about), note={})
    after = open_review(case).state
    every = [image for group in after.groups.values() for image in group.members]
    assert len(every) == len(set(every))
    for id_, group in before.groups.items():
        if group.held:
            assert group.held <= after.groups[id_].members
            assert after.groups[id_].held == group.held
            kept = (group.name, group.named, group.rejected, group.notes)
            now = after.groups[id_]
            assert (now.name, now.named, now.rejected, now.notes) == kept
        else:
            assert id_ in after.groups or id_ in after.gone
    assert before.gone.keys() <= after.gone.keys()
    assert check(case.folder) == []
    shutil.rmtree(folder)


def test_what_was_taken_back_is_lost_once_something_else_is_done(case):
    ann = Reviewer(case.folder)
    ann.name("novel-aaaa", "X")
    ann.undo()
    ann.name("novel-aaaa", "Y")
    with pytest.raises(UserError, match="nothing to redo"):
        ann.redo()


def test_groups_that_were_altered_are_found(case):
    (path,) = (case.folder / "clusters").iterdir()
    path.write_text(path.read_text().replace("a1", "z1"))
    (problem,) = check(case.folder)
    assert "was altered: the journal has another hash of it" in problem
    with pytest.raises(UserError, match="was altered"):
        Reviewer(case.folder).undo()
