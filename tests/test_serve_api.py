"""The HTTP API: what it answers, what it says of itself, and two reviewers at once."""

import json
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest

from owdfa.case import Case
from owdfa.records.verdict import FileVerdict
from owdfa.serve import api
from owdfa.serve.app import make_app
from owdfa.serve.place import Place
from owdfa.serve.settings import ServeSettings
from small_groups import add, by_hand, sha, write_squares
from small_server import picture, served


@pytest.fixture
def run(served_run):
    return served_run


@pytest.fixture
def reviewed(tmp_path):
    """A case with two groups, and a client of a server of it."""
    red, blue = (write_squares(tmp_path / "s", c, range(4)) for c in ("red", "blue"))
    groups = {"novel-aaaa": map(sha, red), "novel-bbbb": map(sha, blue)}
    case = by_hand(tmp_path / "case", groups)
    add(case, [*red, *blue])
    with served(case.folder) as client:
        client.folder = case.folder
        client.red, client.blue = [*map(sha, red)], [*map(sha, blue)]
        yield client


def decide(client, head, **decision):
    return client.post("/v1/review", {"head": head, "decision": decision})


def test_verdicts_come_some_at_a_time_the_last_first(reviewed):
    page = reviewed.get("/v1/verdicts?limit=3&offset=2").json
    assert (page["total"], page["offset"]) == (8, 2)
    whole = reviewed.get("/v1/verdicts").json["verdicts"]
    assert page["verdicts"] == whole[2:5]
    assert whole[0]["sha256"] == reviewed.blue[-1]
    assert FileVerdict.model_validate(whole[0]).model_dump(mode="json", by_alias=True) == whole[0]
    assert reviewed.get("/v1/verdicts?limit=0").status == 422


def test_a_verdict_is_found_by_its_sha256(reviewed):
    assert reviewed.get(f"/v1/verdicts/{reviewed.red[0]}").json["sha256"] == reviewed.red[0]
    answer = reviewed.get(f"/v1/verdicts/{'0' * 64}")
    assert (answer.status, "no file" in answer.json["detail"]) == (404, True)
    assert isinstance(reviewed.get("/v1/verdicts/x").json["detail"], str)


def test_groups_are_named_merged_split_moved_rejected_noted_and_taken_back(reviewed):
    client = reviewed
    head = client.get("/v1/groups").json["head"]
    for decision, sentence in (
        ({"action": "name", "group": "novel-aaaa", "name": "Forge"}, 'named novel-aaaa "Forge"'),
        ({"action": "note", "group": "Forge", "text": "look"}, 'noted of novel-aaaa: "look"'),
        ({"action": "reject", "group": "novel-bbbb"}, "rejected novel-bbbb"),
        ({"action": "undo"}, "took back line"),
        ({"action": "redo"}, "did line"),
        ({"action": "move", "images": [client.blue[0]], "to": "Forge"}, "moved 1 image"),
        ({"action": "split", "group": "Forge", "images": [client.blue[0]]}, "split 1 image off"),
        ({"action": "gather", "images": [client.blue[1]]}, "made novel-"),
        ({"action": "merge", "into": "novel-bbbb", "groups": ["Forge"]}, "merged novel-aaaa into"),
    ):
        answer = decide(client, head, **decision)
        assert answer.status == 200, answer.body
        assert answer.json["sentence"].startswith(sentence)
        head = answer.json["head"]
    found = client.get("/v1/groups").json
    assert found["head"] == head
    assert {len(each["members"]) for each in found["groups"]} == {1, 6}
    assert client.get("/v1/groups/Forge").json["id"] == "novel-bbbb"
    assert client.get("/v1/groups/novel-aaaa").status == 404


def test_who_decides_stands_in_the_journal(reviewed):
    head = reviewed.get("/v1/groups").json["head"]
    decision = {"action": "name", "group": "novel-aaaa", "name": "Forge"}
    reviewed.ask(
        "POST", "/v1/review", json.dumps({"head": head, "decision": decision}),
        {"Content-Type": "application/json", "Cookie": "owdfa-who=Zo%C3%AB%20B."},
    )  # fmt: skip
    assert reviewed.get("/v1/groups/Forge").json["named"]["who"] == "Zoë B."


def test_who_decides_on_what_has_changed_is_told_what(reviewed):
    head = reviewed.get("/v1/groups").json["head"]
    assert decide(reviewed, head, action="name", group="novel-aaaa", name="A").status == 200
    answer = decide(reviewed, head, action="name", group="novel-bbbb", name="B")
    assert answer.status == 409
    (since,) = answer.json["since"]
    assert since["sentence"] == 'named novel-aaaa "A"'
    again = decide(reviewed, answer.json["head"], action="name", group="novel-bbbb", name="B")
    assert again.status == 200


def test_of_many_who_decide_at_once_one_is_heard(reviewed):
    head = reviewed.get("/v1/groups").json["head"]
    found = []

    def name(text):
        found.append(decide(reviewed, head, action="name", group="novel-aaaa", name=text).status)

    threads = [threading.Thread(target=name, args=(text,)) for text in "abcdef"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == [200, *[409] * 5]
    assert sum(entry.what == "reviewed" for entry in Case.open(reviewed.folder).entries) == 1


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"head": "x" * 64, "decision": {"action": "undo"}}, 400),
        ({"head": "abc", "decision": {"action": "undo"}}, 422),
        ({"decision": {"action": "undo"}}, 422),
        ({"head": "x" * 64, "decision": {"action": "destroy"}}, 422),
        ({"head": "x" * 64, "decision": {"action": "name", "group": 3, "name": []}}, 422),
        ([], 422),
        ("x", 422),
    ],
)
def test_a_decision_that_cannot_be_is_refused_in_a_line(reviewed, value, status):
    answer = reviewed.post("/v1/review", value)
    assert answer.status == status
    assert len(answer.json["detail"].splitlines()) == 1


def events(client, job, last=None):
    link = HTTPConnection("127.0.0.1", client.port, timeout=60)
    try:
        link.request(
            "GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last} if last else {}
        )
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def test_a_job_is_followed_by_events_until_it_ends(run, tmp_path):
    with served(tmp_path / "case", run) as client:
        files = {f"{n}.png": picture(n) for n in range(40)}
        job = client.send(files, "wait=0").json["id"]
        status, text = events(client, job)
        assert status == 200
        parts = [part.split("\n") for part in text.split("\n\n") if part]
        assert parts[-1][0] == "id: 40-done"
        assert parts[-1][1] == "event: job"
        assert '"num_done":40' in parts[-1][2]
        assert [part[0] for part in parts] == list(dict.fromkeys(part[0] for part in parts))
        assert events(client, job, "40-done") == (204, "")
        assert events(client, job, "3-running")[1].startswith("id: 40-done")
        assert client.get("/v1/jobs/none/events").status == 404


def test_a_quiet_stream_of_events_shows_that_it_lives(run, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "_BEAT", 0.05)
    with served(tmp_path / "case", run) as client:
        client.send({"a.png": picture(1)})
        job = client.post("/v1/discover", {}).json["id"]
        assert ": still there\n\n" in events(client, job)[1]


def test_types_say_what_verdicts_rest_on(run, tmp_path):
    with served(tmp_path / "case", run) as client:
        found = client.get("/v1/types").json
        assert [each["name"] for each in found["card"]["classes"]] == ["real", "swap"]
        assert found["attribution"]["run"] == str(run)
        assert client.get("/v1/types").json == found
    assert not (tmp_path / "case").exists()


def test_a_case_that_has_not_begun_is_empty(run, tmp_path):
    with served(tmp_path / "case", run) as client:
        assert client.get("/v1/verdicts").json == {"total": 0, "offset": 0, "verdicts": []}
        assert client.get("/v1/groups").json == {"head": "", "groups": []}
        assert client.get("/v1/jobs").json == []
    assert not (tmp_path / "case").exists()


@pytest.fixture(scope="module")
def schema():
    return make_app(Place("none", None), ServeSettings()).openapi()


def test_the_api_describes_itself(schema):
    paths = {path: set(methods) for path, methods in schema["paths"].items()}
    assert paths == {
        "/v1/attribute": {"post"}, "/v1/jobs": {"get"}, "/v1/jobs/{id}": {"get"},
        "/v1/jobs/{id}/events": {"get"}, "/v1/verdicts": {"get"},
        "/v1/verdicts/{sha256}": {"get"}, "/v1/groups": {"get"}, "/v1/groups/{group}": {"get"},
        "/v1/review": {"post"}, "/v1/discover": {"post"}, "/v1/types": {"get"},
    }  # fmt: skip
    for path, methods in schema["paths"].items():
        for method in methods.values():
            assert method["description"], path
            assert {"400", "401", "403", "421"} <= set(method["responses"]), path
            for status, answer in method["responses"].items():
                assert answer["description"], (path, status)
    sent = schema["paths"]["/v1/attribute"]["post"]
    assert {"413", "415", "503", "507", "202"} <= set(sent["responses"])
    assert "multipart/form-data" in sent["requestBody"]["content"]
    assert "409" in schema["paths"]["/v1/review"]["post"]["responses"]


def test_no_page_of_documentation_is_loaded_from_elsewhere(reviewed):
    for path in ("/docs", "/redoc"):
        assert reviewed.get(path).status == 404
    assert reviewed.get("/openapi.json").json["info"]["title"] == "owdfa"


def test_the_client_of_the_documents_works(run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("httpx")
    text = (Path(__file__).parents[1] / "docs" / "serve.md").read_text(encoding="utf-8")
    lines = text.partition("    import httpx\n")[2].partition("\nThe same with curl")[0]
    program = "import httpx\n" + "\n".join(line.removeprefix("    ") for line in lines.splitlines())
    (tmp_path / "pile").mkdir()
    for number in range(3):
        (tmp_path / "pile" / f"{number}.jpg").write_bytes(picture(number, kind="JPEG"))
    monkeypatch.chdir(tmp_path)
    with served(tmp_path / "case", run) as client:
        exec(program.replace("8765", str(client.port)), {})
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {
        "0.jpg", "1.jpg", "2.jpg",
    }  # fmt: skip
