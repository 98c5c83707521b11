"""The journal under any order of events: what was acknowledged is there, whatever happens next."""

import contextlib
import shutil
import signal
import subprocess
import sys
from threading import Thread
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owdfa.case import Case, check
from owdfa.case import case as case_module
from owdfa.case import journal as journal_module
from owdfa.case import review as review_module
from owdfa.case import table as table_module
from owdfa.case.review import act, open_review
from owdfa.errors import UserError
from owdfa.stages.review import Reviewer
from small_case import ATTRIBUTION, attributed
from small_groups import by_hand
from two_reviewers import CHANGES, GROUPS, TURNS, WISHES, Player, do, now, play, same_for_all

FAST = settings(max_examples=30, deadline=None, derandomize=True)
FEW = settings(FAST, max_examples=8)


@pytest.fixture
def case(tmp_path):
    return by_hand(tmp_path / "case", GROUPS)


@contextlib.contextmanager
def new_case(factory):
    folder = factory.mktemp("c")
    try:
        yield by_hand(folder / "case", GROUPS).folder
    finally:
        shutil.rmtree(folder)


@FAST
@given(turns=TURNS)
def test_replay_is_what_was_acknowledged_and_the_loser_sees_what_changed(tmp_path_factory, turns):
    with new_case(tmp_path_factory) as folder:
        acknowledged = play(folder, turns)
        assert now(folder) == acknowledged[-1]
        assert check(folder) == []


@FAST
@given(turns=TURNS, cut=st.floats(0, 1))
def test_a_crash_at_any_byte_leaves_what_was_acknowledged_by_then(tmp_path_factory, turns, cut):
    with new_case(tmp_path_factory) as folder:
        acknowledged = play(folder, turns)
        left_open = Player("r0", Case.open(folder), [])
        same_for_all(folder, [left_open])
        path = folder / "journal.jsonl"
        data = path.read_bytes()
        first = acknowledged[0].size
        size = first + round(cut * (len(data) - first))
        path.write_bytes(data[:size])
        survived = [each for each in acknowledged if each.size <= size][-1]
        assert now(folder) == survived
        for text in ("after", "the", "crash"):
            Reviewer(folder).note(min(survived.review.state.groups), text)
        assert now(folder).review.done[:-3] == survived.review.done
        same_for_all(folder, [left_open])
        assert check(folder) == []


@FEW
@given(turns=TURNS, last=WISHES)
def test_a_crash_at_every_byte_of_what_nobody_was_told_of_changes_nothing(
    tmp_path_factory, turns, last
):
    with new_case(tmp_path_factory) as folder:
        acknowledged = play(folder, turns)[-1]
        before = _files(folder)
        case = Case.open(folder)
        with contextlib.suppress(UserError):
            do(Player("r2", case, [case.head]), last)
        after = _files(folder)
        for name in ("verdicts.jsonl", "journal.jsonl"):  # in the order in which they are written
            _restore(folder, before if name == "verdicts.jsonl" else after)
            old, new = before.get(name, b""), after.get(name, b"")
            if name == "journal.jsonl":
                (folder / "verdicts.csv").unlink(missing_ok=True)
            for size in range(len(old), len(new)):
                (folder / name).write_bytes(new[:size])
                found = Case.open(folder)
                assert len(found.entries) == before["journal.jsonl"].count(b"\n")
                assert open_review(found) == acknowledged.review
                assert list(found.items()) == acknowledged.items
            if len(new) > len(old):  # torn in the midst: whoever comes next goes on from there
                (folder / name).write_bytes(new[: (len(old) + len(new)) // 2])
                _go_on(folder, acknowledged)


def _files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def _restore(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _go_on(folder, acknowledged):
    """Write to a case after a crash: nothing is lost, and nothing is put in."""
    case, file = Case.open(folder), folder.parent / "next.png"
    file.write_bytes(b"next")
    case.add([attributed(file)], ATTRIBUTION)
    Reviewer(folder).note(min(acknowledged.review.state.groups), "next")
    again = now(folder)
    assert again.items[:-1] == acknowledged.items
    assert again.review.done[:-1] == acknowledged.review.done
    assert check(folder) == []


class Killed(BaseException):
    pass


@contextlib.contextmanager
def killed_at(chosen, cut):
    """End at the write number ``chosen``, when a part of its bytes is on the disk."""
    whole, seen = journal_module.append_bytes, iter(range(1000))

    def append(path, size, data):
        if next(seen) == chosen:
            whole(path, size, data[: round(cut * len(data))])
            raise Killed
        whole(path, size, data)

    def instead(write):
        def replacing(path, *args):
            number = next(seen)
            if number == chosen and cut < 1:  # such a file appears whole or not at all
                raise Killed
            write(path, *args)
            if number == chosen:
                raise Killed

        return replacing

    with contextlib.ExitStack() as stack:
        for module, name, made in (
            (journal_module, "append_bytes", append),
            (case_module, "append_bytes", append),
            (review_module, "write_text", instead(review_module.write_text)),
            (table_module, "append_bytes", append),
            (table_module, "write_verdict_table", instead(table_module.write_verdict_table)),
        ):
            stack.enter_context(mock.patch.object(module, name, made))
        stack.enter_context(contextlib.suppress(Killed))
        yield


@FAST
@given(
    turns=st.lists(WISHES, min_size=1, max_size=6),
    chosen=st.integers(0, 8),
    cut=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_kill_between_any_two_writes_loses_nothing_acknowledged(
    tmp_path_factory, turns, chosen, cut
):
    with new_case(tmp_path_factory) as folder:
        acknowledged = [now(folder)]
        case = Case.open(folder)
        player = Player("r0", case, [case.head])
        with killed_at(chosen, cut):
            for wish in turns:
                player.case.journal.reload()
                player.seen.append(player.case.head)
                with contextlib.suppress(UserError):
                    do(player, wish)
                    acknowledged.append(now(folder))
        found = now(folder)
        if found != acknowledged[-1]:  # a whole line is on the disk, and nobody was told
            entries = Case.open(folder).entries
            kept = Case.open(folder).items(len(entries) - 1)
            assert list(kept) == acknowledged[-1].items
            assert found.size > acknowledged[-1].size
            assert review_until(folder, -1) == acknowledged[-1].review
        _go_on(folder, found)


def review_until(folder, line):
    case = Case.open(folder)
    return review_module.replay(
        review_module.Review(),
        case.entries[:line],
        lambda entry: review_module.read_clusters(folder, entry),
    )


@FAST
@given(turns=st.lists(CHANGES, max_size=6), num=st.integers(1, 6))
def test_redo_is_the_inverse_of_undo(tmp_path_factory, turns, num):
    with new_case(tmp_path_factory) as folder:
        reviews = [each.review for each in play(folder, [(0, True, wish) for wish in turns])]
        reviewer = Reviewer(folder)
        back = min(num, len(reviews) - 1)
        for review in reviews[-2 : -2 - back : -1]:
            made = reviewer.undo().review
            assert (made.state, made.done) == (review.state, review.done)
        for review in reviews[len(reviews) - back :]:
            made = reviewer.redo().review
            assert (made.state, made.done) == (review.state, review.done)
        with pytest.raises(UserError, match="nothing to redo"):
            reviewer.redo()
        assert now(folder).review == open_review(reviewer.case)


WORK = """
import sys
from pathlib import Path
from owdfa.case import Case
from owdfa.case.review import write_alone
from owdfa.stages.review import Reviewer
from small_case import ATTRIBUTION, attributed
folder, who = Path(sys.argv[1]), sys.argv[2]
case, file = Case.open(folder), folder.parent / f"{who}.png"
for number in range(int(sys.argv[3])):
    made = Reviewer(folder, who=who).note("novel-aaaa", f"{who} {number}")
    print(made.head, flush=True)
    file.write_bytes(f"{who} {number}".encode())
    with write_alone(case):  # waits for the other
        print(case.add([attributed(file)], ATTRIBUTION, who=who).hash, flush=True)
"""


def test_two_processes_at_once_and_a_kill_lose_nothing_acknowledged(case):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(case.folder), who, str(number)],
            stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}, text=True,
        )
        for who, number in (("ann", 6), ("bob", 1000))
    ]  # fmt: skip
    lines = [started[1].stdout.readline() for _ in range(5)]
    told = started[0].communicate()[0].split()
    started[1].send_signal(signal.SIGKILL)
    lines += started[1].communicate()[0].splitlines(keepends=True)
    assert started[0].returncode == 0
    assert len(told) == 12
    told += [line.strip() for line in lines if line.endswith("\n")]
    hashes = {entry.hash for entry in Case.open(case.folder).entries}
    assert set(told) <= hashes
    assert check(case.folder) == []
    notes = [note.text for note in now(case.folder).review.state.groups["novel-aaaa"].notes]
    assert [text for text in notes if text.startswith("ann")] == [f"ann {n}" for n in range(6)]
    _go_on(case.folder, now(case.folder))


def test_threads_that_share_a_case_lose_nothing_acknowledged(case):
    told, wrong = [], []

    def work(who):
        file = case.folder.parent / f"{who}.png"
        file.write_bytes(who.encode())
        try:
            for number in range(5):
                entry, _ = act(case, lambda r: _note(f"{who} {number}"), who=who)  # noqa: B023
                told.append(entry.hash)
                with review_module.write_alone(case):
                    told.append(case.add([attributed(file)], ATTRIBUTION, who=who).hash)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    def look():
        try:
            for _ in range(30):
                case.journal.reload()
                assert len(open_review(case).done) <= 15
                assert len(case.items()) <= 3
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [Thread(target=work, args=(who,)) for who in "xyz"]
    threads += [Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(told) == 30
    assert set(told) <= {entry.hash for entry in Case.open(case.folder).entries}
    assert check(case.folder) == []
    assert now(case.folder).review == open_review(case)


def _note(text):
    return review_module.ACTION.validate_python(
        {"action": "note", "group": "novel-aaaa", "text": text}
    )
