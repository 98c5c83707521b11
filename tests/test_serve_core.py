"""Files that are sent to a server become verdicts of its case, each once, whatever ends."""

import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import threading
import time
import zipfile
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import serve
from benchmarks.harness import Report
from command_line import cli, done
from owdfa.case import ATTRIBUTED, Case, check
from owdfa.errors import UserError
from owdfa.images.features import StoredFeatures
from owdfa.serve.adding import noted
from owdfa.serve.commands import check_arguments
from owdfa.serve.jobs import Ended, Jobs
from owdfa.serve.place import Place
from owdfa.serve.server import listen
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import Upload
from small_clips import write_clip
from small_groups import write_squares
from small_server import Process, picture, served


@pytest.fixture
def run(served_run):
    return served_run


@pytest.fixture
def case(tmp_path):
    return tmp_path / "case"


def names(case):
    """Paths of the files that the case has verdicts of, one a verdict: none may be there twice."""
    lines = (case / "verdicts.jsonl").read_text().splitlines()
    noted = [file for entry in Case.open(case).entries if entry.what == ATTRIBUTED
             for file in entry.data["files"]]  # fmt: skip
    assert len(noted) == len(lines)
    return sorted(item.verdict.path for item in Case.open(case).items())


def some(count, start=0):
    return {f"{number:03d}.png": picture(start + number) for number in range(count)}


def sha(content):
    return hashlib.sha256(content).hexdigest()


def test_files_become_verdicts_of_a_case_that_holds(run, case, tmp_path):
    files = some(12)
    with served(case, run) as client:
        answer = client.send(files)
        assert answer.status == 200
        assert answer.json["job"]["state"] == "done"
        assert [each["path"] for each in answer.json["verdicts"]] == list(files)
        assert [each["sha256"] for each in answer.json["verdicts"]] == [*map(sha, files.values())]
    assert names(case) == list(files)
    assert not list((case / "uploads").iterdir())
    assert {path.stem for path in (case / "inputs").iterdir()} == {*map(sha, files.values())}
    assert len((case / "verdicts.csv").read_text().splitlines()) == 13
    assert check(case) == []
    done("report", case, "-o", tmp_path / "page.html")
    assert "holds: 12 inputs" in done("verify", tmp_path / "page.html", "--case", case)


def test_the_verdicts_are_those_of_the_command_line(run, case, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, content in some(5).items():
        (photos / name).write_bytes(content)
    done("attribute", run, photos, "-o", tmp_path / "other")
    with served(case, run) as client:
        client.send(some(5))
    here, there = (
        {i.verdict.sha256: i.verdict for i in Case.open(x).items()}
        for x in (case, tmp_path / "other")
    )
    assert [here[x].verdicts for x in there] == [there[x].verdicts for x in there]
    assert {x.attribution for x in here.values()} == {x.attribution for x in there.values()}


def test_embeddings_are_kept_for_discover(run, case):
    files = some(9)
    with served(case, run) as client:
        client.send(files)
    (kind,) = (case / "features").iterdir()
    assert not StoredFeatures.open(case, kind.name).missing([*map(sha, files.values())]).size


def test_the_bytes_of_a_file_are_named_by_the_query(run, case):
    with served(case, run) as client:
        for kind in ("image/png", "application/octet-stream"):
            headers = {"Content-Type": kind}
            answer = client.ask(
                "POST", "/v1/attribute?name=a%2Fb%20c.png&wait=60", picture(1), headers
            )
            (verdict,) = answer.json["verdicts"]
            assert verdict["path"] == "b c.png"


def test_what_is_no_image_is_kept_and_says_so(run, case):
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", picture(1))
    files = {
        "a.png": archive.getvalue(),
        "b.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "c.jpg": b"<!doctype html><script>alert(1)</script>",
        "d.jpg": picture(2)[:200],
    }
    with served(case, run) as client:
        answer = client.send(files)
        labels = [each["verdicts"][0]["outcome"]["reason"] for each in answer.json["verdicts"]]
        assert labels == ["undecodable"] * 4
        for content in files.values():
            for kind in ("thumb", "overview", "face/0"):
                assert client.get(f"/pictures/{sha(content)}/{kind}").status == 404


def test_an_empty_file_fails_and_says_why(run, case):
    with served(case, run) as client:
        job = client.send({"a.png": b"", "b.png": picture(1)}).json["job"]
    assert [(x["state"], x["error"]) for x in job["files"]] == [
        ("failed", "is empty"),
        ("done", None),
    ]
    assert (job["state"], job["num_done"]) == ("done", 2)


def test_a_file_that_is_sent_twice_counts_once(run, case):
    with served(case, run) as client:
        client.send({"a.png": picture(1), "b.png": picture(1)})
        client.send({"c.png": picture(1)})
    assert names(case) == ["c.png"]


def test_jobs_are_on_the_disk_when_they_are_added(tmp_path):
    jobs = Jobs(tmp_path)
    tasks = jobs.add_files(
        [Upload(f"{n}.png", tmp_path / f"u{n}", f"{n:064x}", n) for n in range(3)], "ann"
    )
    command = jobs.add_command("discover", ["case", "--seed", "1"], "bob")
    jobs.end([Ended(tasks[0])])
    again = Jobs(tmp_path)
    assert again.waiting() == tasks[1:]
    assert again.commands() == [command]
    assert [each.kind for each in again.jobs(9)] == ["discover", "attribute"]
    state = again.job(tasks[0].job, frozenset([tasks[1].tag]))
    assert [each.state for each in state.files] == ["done", "running", "waiting"]
    assert (state.state, state.num_done, state.num_files) == ("running", 1, 3)
    assert again.end([Ended(tasks[1], "is empty"), Ended(tasks[2])]) == [tasks[0].job]
    assert again.job(tasks[0].job).state == "done"
    again.end_command(command.job, "failed", "no groups")
    assert again.job(command.job).note == "no groups"
    assert again.job("none") is None
    for each in (jobs, again):
        each.close()


def test_jobs_of_another_version_are_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(UserError, match="is of version 99"):
        Jobs(tmp_path)
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="cannot be used"):
        Jobs(tmp_path)


def test_a_verdict_that_the_journal_has_is_not_added_again(run, case):
    """A kill between the journal and the job."""
    with served(case, run) as client:
        job = client.send(some(3)).json["job"]["id"]
    before = (case / "journal.jsonl").read_bytes()
    with sqlite3.connect(case / "jobs.sqlite3") as file:
        file.execute("UPDATE tasks SET state = 'waiting'")
        file.execute("UPDATE jobs SET state = 'waiting'")
    file.close()
    assert noted(Case.open(case)) == {f"job:{job}/{number}" for number in range(3)}
    with served(case, run) as client:
        assert client.wait(job)["num_done"] == 3
        assert client.send({"new.png": picture(77)}).status == 200
    assert (case / "journal.jsonl").read_bytes().startswith(before)
    assert names(case) == ["000.png", "001.png", "002.png", "new.png"]


def test_an_upload_that_was_cut_off_by_a_kill_is_deleted_at_the_next_start(run, case):
    with served(case, run) as client:
        client.send(some(1))
    (case / "uploads" / "torn").write_bytes(b"half")
    with served(case, run) as client:
        client.send(some(1, 9))
    assert not list((case / "uploads").iterdir())


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_loses_nothing(run, case):
    draw, sent = random.Random(0), {}
    for turn in range(4):
        server = Process(case, run, workers=2)
        try:
            for part in range(3):
                files = {
                    f"{turn}-{part}-{k}": v for k, v in some(40, 1000 * turn + 100 * part).items()
                }
                assert server.client.send(files, "wait=0").status == 202
                sent |= files
            time.sleep(draw.random() * 1.5)
        finally:
            server.kill()
    server = Process(case, run, workers=2)
    try:
        for job in server.client.get("/v1/jobs").json:
            assert server.client.wait(job["id"])["num_done"] == 40
    finally:
        server.stop()
    assert names(case) == sorted(sent)
    assert check(case) == []
    assert not list((case / "uploads").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(0, 40, 4))
def test_at_whatever_moment_a_server_is_killed_what_it_acknowledged_is_done_once(run, case, moment):
    with served(case, run) as client:  # the case is begun
        client.send(some(1))
    server, sent = Process(case, run, kill_at=moment), []
    try:
        for number in range(50):
            files = {f"{number}-{name}": v for name, v in some(2, 10 * number + 10).items()}
            if server.client.send(files, "wait=0").status == 202:
                sent += files
            time.sleep(0.1)
    except (OSError, HTTPException):  # it is gone
        pass
    finally:
        server.kill()
    with served(case, run) as client:
        for job in client.get("/v1/jobs").json:
            client.wait(job["id"])
    added = [name for name in names(case) if name != "000.png"]
    assert set(sent) <= set(added)
    assert len(added) - len(sent) in (0, 2)  # what was written and not yet acknowledged
    lines = (case / "verdicts.jsonl").read_text().splitlines()
    assert len(lines) == len(added) + 1  # none is there twice
    assert check(case) == []


@pytest.mark.slow
def test_workers_that_are_killed_at_any_time_cost_no_file(run, case):
    server, draw = Process(case, run, workers=2), random.Random(1)
    try:
        jobs = [server.client.send(some(60, 100 * n), "wait=0").json["id"] for n in range(4)]
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            for pid in server.workers():
                if draw.random() < 0.3:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.4)
        found = [server.client.wait(job) for job in jobs]
    finally:
        server.stop()
    assert [each["num_done"] for each in found] == [60] * 4
    assert len(names(case)) == 240


def test_a_worker_that_ends_with_nothing_to_do_is_replaced_and_costs_no_try(run, case):
    server = Process(case, run)
    try:
        for number in range(4):
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            (said,) = server.client.send({"a.png": picture(number)}).json["verdicts"]
            assert said["verdicts"][0]["outcome"]["reason"] != "undecodable"
    finally:
        server.stop()


POISON = """
import os, time
import owdfa.images.decode as decode
whole = decode.decoded

def decoded(data, path):
    if b"KILL" in data:
        os.kill(os.getpid(), 9)
    if b"HANG" in data:
        time.sleep(1000)
    if b"EATS" in data:
        bytearray(2**31)
    return whole(data, path)

decode.decoded = decoded
"""


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """Workers that do not survive some files."""
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "sitecustomize.py").write_text(POISON)
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "poison"), path]))


def test_a_file_that_no_worker_survives_is_found_and_the_others_are_done(run, case, poison):
    files = some(6)
    for name, mark in (("001.png", b"KILL"), ("003.png", b"HANG"), ("004.png", b"EATS")):
        files[name] += mark
    with served(case, run, task_seconds=4.0, worker_memory=2**28) as client:
        answer = client.send(files, "wait=120")
        assert answer.status == 200
        outcomes = [each["verdicts"][0]["outcome"] for each in answer.json["verdicts"]]
        assert client.send({"z.png": picture(99)}).status == 200
    assert [each["detail"] for each in outcomes if each["reason"] == "undecodable"] == [
        "decoding it ended the worker process 3 times",
        "decoding it took more than 4 s",
        "decoding it took more than 268,435,456 bytes of memory",
    ]
    assert [n for n, each in enumerate(outcomes) if each["reason"] == "undecodable"] == [1, 3, 4]
    assert check(case) == []


def test_a_file_that_takes_long_holds_up_no_other(run, case, poison):
    with served(case, run, workers=2, task_seconds=1000.0) as client:
        slow = client.send({"slow.png": picture(1) + b"HANG"}, "wait=0").json["id"]
        for number in (2, 3):
            time.sleep(2.5)  # what is done when nothing comes must not wait for it either
            assert client.send({"a.png": picture(number)}).status == 200
        assert client.get(f"/v1/jobs/{slow}").json["state"] == "running"


def test_a_server_waits_for_a_command_that_writes_to_the_case(run, case):
    with served(case, run) as client:
        client.send(some(1))
        handle = os.open(case, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        job = client.send(some(2, 50), "wait=1").json
        assert job["state"] == "running"
        assert client.get("/v1/verdicts").json["total"] == 1  # reading goes on
        os.close(handle)
        assert client.wait(job["id"])["state"] == "done"


def test_a_case_that_cannot_be_written_is_tried_again(run, case, monkeypatch):
    real, left = Case.add, [2]

    def add(self, *given, **named):
        left[0] -= 1
        if left[0] >= 0:
            raise UserError("the disk is full")
        return real(self, *given, **named)

    with served(case, run) as client:
        client.send(some(1))
        monkeypatch.setattr(Case, "add", add)
        answer = client.send(some(2, 50), "wait=0.1")
        assert answer.status == 202
        assert client.wait(answer.json["id"])["state"] == "done"
    assert len(names(case)) == 3


def test_without_a_run_nothing_is_taken_and_the_case_is_shown(run, case):
    with served(case, run) as client:
        client.send(some(1))
    with served(case) as client:
        answer = client.send(some(1))
        assert answer.status == 400
        assert "--run" in answer.json["detail"]
        assert client.get(f"/pictures/{sha(picture(0))}/thumb").status == 200
        assert client.get("/v1/types").status == 404


def test_a_folder_of_something_else_is_no_place_for_a_case(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture(1))
    with pytest.raises(UserError, match="choose another --case"):
        Place.find(run, case=tmp_path / "photos")


def test_a_run_without_thresholds_says_so(run, case, tmp_path):
    shutil.copytree(run, tmp_path / "plain")
    (tmp_path / "plain" / "calibration.json").unlink()
    with served(case, tmp_path / "plain") as client:
        answer = client.send(some(1))
        assert answer.status == 400
        assert "is not calibrated" in answer.json["detail"]
    assert not case.exists()


def test_a_second_server_of_a_case_leaves_its_work_to_the_first(run, case):
    with served(case, run) as client:
        client.send(some(1))
        second = Process(case, run)
        try:
            answer = second.client.send(some(1, 5))
            assert answer.status == 400
            assert "another owdfa serve" in answer.json["detail"]
            assert second.client.get("/v1/verdicts").json["total"] == 1
        finally:
            second.stop()


def test_more_files_than_may_wait_are_refused_and_not_kept(run, case):
    with served(case, run, max_waiting=3) as client:
        answer = client.send(some(4))
        assert answer.status == 503
        assert not list((case / "uploads").iterdir())
        assert client.get("/v1/jobs").json == []


def test_pictures_are_drawn_once_and_kept(run, case):
    content = picture(1, side=300, kind="JPEG")
    with served(case, run) as client:
        client.send({"a.jpg": content})
        for kind, side in (("thumb", 128), ("overview", 300), ("face/0", SEEN)):
            answer = client.get(f"/pictures/{sha(content)}/{kind}")
            assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
            assert size(answer.body) == (side, side)
            tag = answer.headers["etag"]
            again = client.ask(
                "GET", f"/pictures/{sha(content)}/{kind}", headers={"If-None-Match": tag}
            )
            assert (again.status, again.body) == (304, b"")
        assert "immutable" in client.get(f"/pictures/{sha(content)}/thumb").headers["cache-control"]
        assert client.get(f"/pictures/{sha(content)}/face/7").status == 404
        shutil.rmtree(case / "pictures")
        assert client.get(f"/pictures/{sha(content)}/thumb").status == 200
        shutil.rmtree(case / "pictures")
        (copy,) = (case / "inputs").iterdir()
        copy.write_bytes(picture(2))
        assert client.get(f"/pictures/{sha(content)}/thumb").status == 404
        assert client.get(f"/pictures/{'0' * 64}/thumb").status == 404


def test_a_video_has_verdicts_and_pictures(run, case, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 96, 3), dtype=np.uint8)
    clip = write_clip(tmp_path / "a.mp4", noise).read_bytes()
    with served(case, run) as client:
        found = client.send({"a.mp4": clip, "b.png": picture(1)}).json["verdicts"]
        assert found[0]["verdicts"][0]["track"]["num_used"] == 3  # five a second of ten
        assert found[1]["video"] is None
        for kind, wanted in (("thumb", (96, 64)), ("face/0", (SEEN, SEEN))):
            answer = client.get(f"/pictures/{sha(clip)}/{kind}")
            assert (answer.status, size(answer.body)) == (200, wanted)


def test_a_picture_that_many_ask_for_at_once_is_drawn_once(run, case):
    with served(case, run) as client:
        client.send(some(1))
        asked = []

        def ask():
            asked.append(client.get(f"/pictures/{sha(picture(0))}/thumb").status)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert asked == [200] * 8


SEEN = 16  # side of what the network of the run sees


def size(content):
    return Image.open(BytesIO(content)).size


def test_a_page_of_pictures_and_many_files_do_not_wait_for_one_another(run, case):
    with served(case, run) as client:
        first = some(30)
        client.send(first)
        job = client.send(some(300, 1000), "wait=0").json["id"]
        for content in first.values():
            assert client.get(f"/pictures/{sha(content)}/thumb").status == 200
        assert client.wait(job)["num_done"] == 300


def test_commands_run_one_at_a_time_and_say_what_became_of_them(run, case, tmp_path):
    squares = [p for c in ("red", "blue") for p in write_squares(tmp_path / "s", c, range(8))]
    with served(case, run) as client:
        client.send({path.name: path.read_bytes() for path in squares})
        first = client.post("/v1/discover", {"min_size": 3}).json["id"]
        second = client.post("/v1/discover", {"min_size": 3, "seed": 1}).json["id"]
        found = client.wait(first)
        assert found["state"] == "done", found["note"]
        assert client.wait(second)["state"] == "done"
        groups = client.get("/v1/groups").json["groups"]
        assert {sha256 for each in groups for sha256 in each["members"]}
    whats = [entry.what for entry in Case.open(case).entries]
    assert whats.count("discovered") == 2


def test_a_command_that_fails_says_why(run, case):
    with served(case, run) as client:
        client.send({"a.png": b"no image"})
        job = client.wait(client.post("/v1/discover", {}).json["id"])
        assert job["state"] == "failed"
        assert job["note"]
        assert "Traceback" not in job["note"]
        assert not job["note"].startswith("owdfa: ")


@pytest.mark.parametrize("text", ["--help", "-x", "--run=other", "-", "a\0b"])
def test_what_a_user_writes_is_no_option(text):
    check_arguments(["case", "--by", "types", "-o", "x"])
    with pytest.raises(UserError, match=r"begins with|NUL"):
        check_arguments(["case", text])


def test_no_process_but_the_server_has_the_token(run, case, monkeypatch):
    monkeypatch.setenv("OWDFA_TOKEN", "x" * 20)
    server = Process(case, run)
    try:
        server.client.send(some(1))
        for pid in server.workers():
            assert b"OWDFA_TOKEN" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        server.stop()


def test_what_is_sent_is_not_kept_in_memory(run, case):
    server = Process(case, run)
    try:
        server.client.send(some(1))
        before = server.peak()
        answer = server.client.send({"a.bin": bytes(2**26), "b.bin": bytes(2**26)})
        assert answer.json["job"]["num_done"] == 2
        assert server.peak() - before < 2**24
    finally:
        server.stop()


def test_workers_end_with_the_server_however_it_ends(run, case):
    server = Process(case, run, workers=2)
    server.client.send(some(1))
    workers = server.workers()
    assert len(workers) == 2
    server.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_attributes_on_the_command_line_goes_on_in_the_same_case(run, case, tmp_path):
    with served(case, run) as client:
        client.send(some(2))
        (tmp_path / "b.png").write_bytes(picture(500))
        assert cli("attribute", run, tmp_path / "b.png", "-o", case).status == 0
        assert client.get("/v1/verdicts").json["total"] == 3
        client.send(some(1, 600))
        assert client.get("/v1/verdicts").json["total"] == 4
    assert check(case) == []


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_benchmark_of_the_server_runs_at_toy_size(run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, content in some(12).items():
        (photos / name).write_bytes(content)
    options = ["--seconds", "5", "--clients", "2", "--kill", "2", "--photos", str(photos)]
    serve.main([str(run), *options], Report("serve", tmp_path))
    (path,) = tmp_path.glob("serve.*.json")
    rows = {row["what"]: row["value"] for row in json.loads(path.read_text())["rows"]}
    assert rows["files that were acknowledged"].startswith("0 lost, 0 twice of ")
    assert rows["files that were acknowledged"].endswith(" killed, met")
    assert rows["requests refused"].startswith("0 of ")
    assert len(rows) == 6


def test_answers_are_sent_at_once():
    with listen(ServeSettings(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY for no other
