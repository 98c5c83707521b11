"""The case folder: what was acknowledged survives any crash, and any edit is found."""

import csv
import json
import shutil
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owdfa.case import Case, check, is_case
from owdfa.case import case as case_module
from owdfa.case import journal as journal_module
from owdfa.case import table as table_module
from owdfa.case.journal import Entry, parse, sealed
from owdfa.case.lines import add_attributions
from owdfa.errors import UserError
from owdfa.records.verdict import Outcome, attribution_digest
from owdfa.runs.lock import BusyError
from small_case import ATTRIBUTION, attributed

FAST = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def make_case(folder, *, rounds=2):
    case = Case.create(folder / "case", who="ann")
    for number in range(rounds):
        files = [folder / f"{number}-{name}.png" for name in "ab"]
        for file in files:
            file.write_bytes(file.name.encode())
        case.add([attributed(file) for file in files], ATTRIBUTION, command=["owdfa", "x"])
        case.record("noted", {"text": f"round {number}, \u00e9"}, who="bob")
    return case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("case"))


def lines_of(case):
    return case.journal.path.read_bytes().splitlines(keepends=True)


def test_state_is_the_journal_replayed(case):
    again = Case.open(case.folder)
    assert [entry.what for entry in again.entries] == [
        "created", "attributed", "noted", "attributed", "noted"
    ]  # fmt: skip
    assert [entry.seq for entry in again.entries] == [1, 2, 3, 4, 5]
    assert [entry.who for entry in again.entries][2:3] == ["bob"]
    assert [item.verdict.path for item in again.items()] == [
        "0-a.png", "0-b.png", "1-a.png", "1-b.png"
    ]  # fmt: skip
    assert [item.seq for item in again.items()] == [2, 2, 4, 4]
    assert [item.verdict.path for item in again.items(3)] == ["0-a.png", "0-b.png"]
    assert list(again.items()) == list(case.items())
    ((made, run),) = again.attributions().values()
    assert made == ATTRIBUTION
    assert run.resolve() == Path("runs/first").resolve()
    assert check(case.folder) == []
    assert again.notes == []


def test_a_line_follows_the_one_before(case):
    previous = "0" * 64
    for line in lines_of(case):
        entry = json.loads(line)
        assert entry["previous"] == previous
        previous = entry["hash"]
    assert previous == case.head


def test_a_later_verdict_of_a_file_takes_the_place_of_the_earlier_one(tmp_path):
    case = make_case(tmp_path, rounds=1)
    file, other = tmp_path / "0-a.png", Outcome(kind="novel")
    case.add([attributed(file, outcome=other)], ATTRIBUTION)
    assert [(i.verdict.path, i.verdict.outcome.kind) for i in case.items()] == [
        ("0-b.png", "inconclusive"), ("0-a.png", "novel")
    ]  # fmt: skip
    file.write_bytes(b"changed")  # another content is another input
    case.add([attributed(file)], ATTRIBUTION)
    assert [item.verdict.path for item in case.items()] == ["0-b.png", "0-a.png", "0-a.png"]


def test_the_table_has_a_row_a_verdict_and_no_formula(tmp_path):
    case = Case.create(tmp_path / "case")
    file = tmp_path / "=HYPERLINK(1).png"
    file.write_bytes(b"x")
    case.add([attributed(file)], ATTRIBUTION)
    with (case.folder / "verdicts.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["path"] == "'=HYPERLINK(1).png"
    assert (row["outcome"], row["reason"], row["probability"]) == ("inconclusive", "unsure", "0.5")


def test_the_table_of_an_open_case_is_what_one_that_is_opened_writes(tmp_path, monkeypatch):
    case, written = make_case(tmp_path, rounds=0), []
    whole = table_module.write_verdict_table

    def write(path, verdicts):
        written.append(path)
        whole(path, verdicts)

    monkeypatch.setattr(table_module, "write_verdict_table", write)

    def add(case, name):
        (tmp_path / name).write_bytes(name.encode())
        before = len(written)
        case.add([attributed(tmp_path / name, outcome=Outcome(kind="novel"))], ATTRIBUTION)
        found = (case.folder / "verdicts.csv").read_text()
        whole(tmp_path / "again.csv", (item.verdict for item in case.items()))
        assert found == (tmp_path / "again.csv").read_text()
        return len(written) > before

    assert add(case, "a.png")
    assert not add(case, "b.png")
    assert not add(case, "=c.png")
    assert add(case, "b.png")  # takes the place of an earlier one
    assert not add(case, "d.png")
    assert add(Case.open(case.folder), "e.png")
    assert add(case, "f.png")  # another has written
    assert not add(case, "g.png")


def test_inputs_are_copied_by_their_hash_where_asked_for(tmp_path):
    case = Case.create(tmp_path / "case")
    file = tmp_path / "a.PNG"
    file.write_bytes(b"pixels")
    case.add([attributed(file)], ATTRIBUTION, copy=True)
    (item,) = case.items()
    assert case.find_input(item) == case.folder / "inputs" / f"{item.verdict.sha256}.png"
    assert case.find_input(item).read_bytes() == b"pixels"
    made = attributed(file)
    file.write_bytes(b"others")
    (case.find_input(item)).unlink()
    with pytest.raises(UserError, match=r"a\.PNG: has changed meanwhile"):
        case.add([made], ATTRIBUTION, copy=True)
    assert len(case.entries) == 2


def test_a_case_that_moves_with_its_inputs_finds_them(tmp_path):
    (tmp_path / "here").mkdir()
    case = make_case(tmp_path / "here", rounds=1)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Case.open(tmp_path / "there" / "case")
    assert all(moved.find_input(item).is_file() for item in moved.items())
    assert case.entries == moved.entries


@FAST
@given(data=st.data())
def test_any_edit_of_the_journal_is_found(case, data):
    whole = case.journal.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    content = parse(whole[:place] + bytes([byte]) + whole[place + 1 :])
    number = whole[:place].count(b"\n") + 1
    if place == len(whole) - 1:  # the end of the last line: it is torn
        assert content.torn
        assert len(content.entries) == 4
    else:
        assert content.problems[0][0] == number
        assert len(content.problems) <= 2


@FAST
@given(data=st.data())
def test_any_line_taken_out_moved_or_doubled_is_found(case, data):
    lines = lines_of(case)
    number = data.draw(st.integers(0, len(lines) - 2))
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda value: value != number))
    taken = [*lines[:number], *lines[number + 1 :]]
    assert parse(b"".join(taken)).problems[0][0] == number + 1
    moved = list(taken)
    moved.insert(other, lines[number])
    assert parse(b"".join(moved)).problems
    assert parse(b"".join([*lines, lines[number]])).problems[0][0] == len(lines) + 1


def test_a_line_written_anew_with_its_own_hash_breaks_the_chain(case):
    lines = lines_of(case)
    entry = parse(b"".join(lines)).entries[2]
    forged = sealed(entry._replace(who="eve"))
    lines[2] = journal_module.canonical(forged._asdict()).encode() + b"\n"
    assert [number for number, _ in parse(b"".join(lines)).problems] == [4]


@FAST
@given(data=st.data())
def test_any_edit_of_a_verdict_is_found_and_named(case, data):
    path = case.folder / "verdicts.jsonl"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    try:
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        problems = check(case.folder)
        with pytest.raises(UserError, match="restore the file from a copy"):
            list(case.items())
    finally:
        path.write_bytes(whole)
    assert f"line {whole[:place].count(10) + 1} " in problems[0]


def test_an_altered_journal_is_refused_and_every_line_is_named(tmp_path):
    case = make_case(tmp_path)
    text = case.journal.path.read_text()
    case.journal.path.write_text(text.replace("bob", "eve"))
    with pytest.raises(UserError, match="line 3 was altered"):
        Case.open(case.folder)
    assert [problem.split(": ")[1] for problem in check(case.folder)] == [
        "line 3 was altered", "line 5 was altered"
    ]  # fmt: skip


def test_a_marker_of_another_case_is_found(tmp_path):
    case = make_case(tmp_path, rounds=0)
    other = Case.create(tmp_path / "other")
    shutil.copy(other.folder / "case.json", case.folder)
    assert "is of another case" in check(case.folder)[0]


@FAST
@given(data=st.data())
def test_a_torn_last_line_is_said_and_the_state_is_that_before_it(case, data):
    whole = case.journal.path.read_bytes()
    size = data.draw(st.integers(0, len(whole)))
    content = parse(whole[:size])
    assert not content.problems
    assert len(content.entries) == whole[:size].count(b"\n")
    assert bool(content.torn) == (not whole[:size].endswith(b"\n") and size > 0)


def test_a_torn_end_is_kept_in_a_line_of_its_own_by_the_next_writer(tmp_path):
    case = make_case(tmp_path, rounds=1)
    whole = case.journal.path.read_bytes()
    case.journal.path.write_bytes(whole[:-9])
    case = Case.open(case.folder)
    assert case.notes == [
        f"{case.journal.path}: line 3: is torn, as a crash leaves it; the state is that of line 2"
    ]
    case.record("noted", {})
    assert [entry.what for entry in case.entries][2:] == ["repaired", "noted"]
    assert case.entries[2].data == {"torn": whole[:-9].splitlines()[-1].decode()}
    assert check(case.folder) == []
    assert Case.open(case.folder).notes == []


class Killed(Exception):
    pass


def _killing(monkeypatch, chosen, cut):
    """Let the write number ``chosen`` stop after a part of its bytes."""
    whole, seen = journal_module.append_bytes, iter(range(1000))

    def append(path, size, data):
        if next(seen) == chosen:
            whole(path, size, data[: int(cut * len(data))])
            raise Killed
        whole(path, size, data)

    monkeypatch.setattr(journal_module, "append_bytes", append)
    monkeypatch.setattr(case_module, "append_bytes", append)


@pytest.mark.parametrize("cut", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("chosen", range(6))
def test_a_kill_at_any_write_leaves_the_acknowledged_state(tmp_path, monkeypatch, chosen, cut):
    case = make_case(tmp_path, rounds=1)
    acknowledged = [(len(case.entries), list(case.items()))]
    with monkeypatch.context() as patch:
        _killing(patch, chosen, cut)
        try:
            for number in range(3):
                file = tmp_path / f"later-{number}.png"
                file.write_bytes(b"%d" % number)
                case.add([attributed(file)], ATTRIBUTION)
                acknowledged.append((len(case.entries), list(case.items())))
        except Killed:
            pass
    again = Case.open(case.folder)
    whole_line = chosen % 2 == 1 and cut == 1.0  # it is on the disk, and nobody was told
    num_entries, items = acknowledged[-1]
    if whole_line:
        assert len(again.entries) == num_entries + 1
    else:
        assert (len(again.entries), list(again.items())) == (num_entries, items)
    assert list(again.items()[: len(items)]) == items
    assert check(case.folder) == []
    file = tmp_path / "last.png"
    file.write_bytes(b"last")
    again.add([attributed(file)], ATTRIBUTION)
    assert again.items()[-1].verdict.path == "last.png"
    assert check(case.folder) == []
    with (case.folder / "verdicts.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(again.items())


@pytest.mark.parametrize("event", range(12))
def test_a_kill_while_a_case_is_begun_is_no_obstacle(tmp_path, event):
    import subprocess
    import sys

    code = (
        "import os, sys\n"
        "from owdfa.case import Case\n"
        "place, seen = sys.argv[1], iter(range(1000))\n"
        "def audit(name, arguments):\n"
        "    if place in repr(arguments[:2]) and next(seen) == int(sys.argv[2]):\n"
        "        os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(audit)\n"
        "Case.create(place)\n"
    )
    folder = tmp_path / "case"
    ended = subprocess.run([sys.executable, "-c", code, folder, str(event)], check=False)
    if ended.returncode == 0 or (is_case(folder) and parse_entries(folder)):
        assert len(Case.open(folder).entries) == 1
        return
    assert len(Case.create(folder).entries) == 1


def parse_entries(folder):
    path = folder / "journal.jsonl"
    return parse(path.read_bytes()).entries if path.exists() else ()


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    case = make_case(tmp_path, rounds=1)
    whole = case.journal.path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "fsync", full)
        with pytest.raises(UserError, match="the disk is full"):
            case.record("noted", {})
    assert case.journal.path.read_bytes() == whole
    case.record("noted", {})
    assert check(case.folder) == []


def test_a_clock_that_went_backwards_is_said_and_the_time_is_kept(tmp_path, monkeypatch):
    case = make_case(tmp_path, rounds=0)

    class Early(journal_module.datetime):
        @classmethod
        def now(cls, zone):
            return cls(2020, 1, 1, tzinfo=zone)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "datetime", Early)
        case.record("noted", {})
    case.record("noted", {})
    (note,) = Case.open(case.folder).notes
    assert "line 2: its time is " in note
    assert "the clock went backwards; the order is that of the lines" in note
    assert case.entries[1].time == "2020-01-01T00:00:00+00:00"
    assert check(case.folder) == []


def test_two_writers_are_refused_and_a_reader_is_not(tmp_path):
    from bad_input.test_e_two_writers import hold, stop

    case = make_case(tmp_path, rounds=1)
    process = hold(case.folder)
    try:
        with pytest.raises(UserError, match="another process is writing to it"):
            case.record("noted", {})
        assert len(Case.open(case.folder).items()) == 2
    finally:
        stop(process)
    case.record("noted", {})


def test_two_open_cases_take_turns(tmp_path):
    case = make_case(tmp_path, rounds=0)
    other = Case.open(case.folder)
    case.record("noted", {"by": 1})
    other.record("noted", {"by": 2})
    case.record("noted", {"by": 3})
    assert [entry.data.get("by") for entry in Case.open(case.folder).entries] == [None, 1, 2, 3]


def test_an_open_case_reads_only_what_was_added(tmp_path, monkeypatch):
    case = make_case(tmp_path)
    other, parsed = Case.open(case.folder), []
    before, items = other.entries, list(other.items())
    whole = journal_module._parse_line

    def parse_line(line, before):
        parsed.append(line)
        return whole(line, before)

    monkeypatch.setattr(journal_module, "_parse_line", parse_line)
    other.journal.reload()
    assert (other.entries, parsed) == (before, [])
    file = tmp_path / "new.png"
    file.write_bytes(b"new")
    case.add([attributed(file)], ATTRIBUTION)
    parsed.clear()
    other.journal.reload()
    assert parsed == [lines_of(case)[-1].rstrip(b"\n")]
    assert other.entries == case.entries == Case.open(case.folder).entries
    assert [item.verdict.path for item in other.items()][-1] == "new.png"
    assert list(other.items()[:-1]) == items
    assert other.attributions() == Case.open(case.folder).attributions()


def test_an_open_case_reads_a_journal_whole_that_did_not_only_grow(tmp_path):
    case = make_case(tmp_path)
    other, path = Case.open(case.folder), case.journal.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])  # torn
    other.journal.reload()
    assert (len(other.entries), len(other.items())) == (4, 4)
    path.write_bytes(b"".join(lines_of(case)[:3]))  # an older copy
    other.journal.reload()
    assert (len(other.entries), len(other.items())) == (3, 2)
    path.write_bytes(whole)
    other.journal.reload()
    assert (other.entries, len(other.items())) == (case.entries, 4)
    path.write_bytes(whole.replace(b"bob", b"eve"))
    with pytest.raises(UserError, match="line 3 was altered"):
        other.journal.reload()
    path.write_bytes(whole)
    other.journal.reload()
    assert other.entries == case.entries


def test_a_verdict_that_was_altered_since_is_found_when_it_is_read(tmp_path):
    case = make_case(tmp_path, rounds=1)
    items, path = case.items(), case.folder / "verdicts.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0-b.png", b"0-c.png"))
    assert items[0].verdict.path == "0-a.png"
    with pytest.raises(UserError, match=r"was altered.*verdict of 0-b\.png; restore the file"):
        items[1]


def test_many_lines_hold_one_attribution(tmp_path):
    case = Case.create(tmp_path / "case")
    for number in range(3):
        file = tmp_path / f"{number}.png"
        file.write_bytes(file.name.encode())
        case.add([attributed(file)], ATTRIBUTION)
    for each in (case, Case.open(case.folder)):
        made = [id(entry.data["attribution"]) for entry in each.entries[1:]]
        assert len(set(made)) == 1


def test_threads_that_write_take_turns_or_are_refused(tmp_path):
    case = make_case(tmp_path, rounds=0)
    begun, go_on = Event(), Event()

    def hold():
        with Case.open(case.folder).writing():
            begun.set()
            go_on.wait()

    thread = Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        with pytest.raises(BusyError, match="something else is writing to it; wait until"):
            case.record("noted", {})
    finally:
        go_on.set()
        thread.join()
    case.record("noted", {})
    assert check(case.folder) == []


def test_what_was_read_before_is_not_put_back_when_another_thread_has_written(
    tmp_path, monkeypatch
):
    case = make_case(tmp_path, rounds=0)
    whole, writers = journal_module.Journal._grown, []

    def slow(journal):
        content = whole(journal)
        if not writers:
            writers.append(Thread(target=journal.append, args=("noted", {}, "bob")))
            writers[0].start()
            writers[0].join(0.2)
        return content

    monkeypatch.setattr(journal_module.Journal, "_grown", slow)
    case.journal.reload()
    writers[0].join()
    assert [entry.what for entry in case.entries] == ["created", "noted"]
    case.journal.append("noted", {}, "ann")
    assert len(Case.open(case.folder).entries) == 3


def test_what_is_no_case_is_refused_in_one_line(tmp_path):
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="holds files and is no case"):
        Case.create(tmp_path)
    with pytest.raises(UserError, match=r"case\.json: no such file; a case"):
        Case.open(tmp_path)
    assert list(Path(tmp_path).iterdir()) == [tmp_path / "file.txt"]
    case = make_case(tmp_path, rounds=0)
    with pytest.raises(UserError, match="is a case already"):
        Case.create(case.folder)
    case.journal.path.unlink()
    with pytest.raises(UserError, match="holds no line"):
        Case.open(case.folder)
    (case.folder / "case.json").write_text('{"schema": "owdfa/case/9", "id": "x"}')
    with pytest.raises(UserError, match="this version reads"):
        Case.open(case.folder)


def test_verdicts_rest_on_what_they_were_written_with_whatever_later_versions_add():
    about = ATTRIBUTION.model_dump(by_alias=True, mode="json")
    assert attribution_digest(about) == ATTRIBUTION.digest
    del about["provenance"]["continues"]  # as a version wrote that did not know it
    data = {"attribution": about, "run": "runs/first", "files": []}
    found = add_attributions({}, [Entry(1, "", "", "attributed", data, "")])
    assert found == {attribution_digest(about): (ATTRIBUTION, "runs/first")}
    assert attribution_digest(about) != ATTRIBUTION.digest
