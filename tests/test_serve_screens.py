"""The screens of attribution, known types, runs and the journal, as a browser without script."""

import json
import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from owdfa.case.actions import Name
from owdfa.case.review import act
from owdfa.errors import UserError
from owdfa.serve.app import make_app
from owdfa.serve.jobs import JobState
from owdfa.serve.pages import attribute, journal, runs
from owdfa.serve.place import Place
from owdfa.serve.service import Service
from owdfa.serve.settings import ServeSettings
from owdfa.stages.evidence.card import ClassLine, ModelCard
from report_run import make_run
from small_groups import by_hand
from small_verdicts import HOSTILE, KINDS, calibrated, make
from test_report import Tags

CARD = ModelCard(
    run="runs/first", trained_on=(("Method", "cal"),), num_novel=1, scored="40 images",
    stressed="not measured", classes=tuple(
        ClassLine(name=name, family=None, num_images=20, accuracy=0.75, robustness=None)
        for name in ("real", "swap")
    ),
)  # fmt: skip


@pytest.fixture
def told(monkeypatch):
    """What a worker says of the run, where one is served."""

    async def attribution(self):
        return calibrated() if self.place.run else None

    async def card(self):
        return CARD.model_dump() if self.place.run else None

    monkeypatch.setattr(Service, "attribution", attribution)
    monkeypatch.setattr(Service, "card", card)


@pytest.fixture
def case(tmp_path):
    return make(tmp_path)


@pytest.fixture
def browser(case, told):
    """Looks at the case, whose run is gone."""
    return looks(Place.find(case.folder))


def looks(place):
    app = make_app(place, ServeSettings())
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=True)


def text_of(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def names(page):
    """Names on the cards, in order."""
    return [unescape(each) for each in re.findall(r'<h3 id="name-[^>]*><a [^>]*>([^<]*)<', page)]


def sha(case, name):
    return next(i.verdict.sha256 for i in case.items() if i.verdict.path == name)


@pytest.mark.parametrize(
    "address", ["/", "/types", "/runs", "/journal", "/?kind=no&sort=no&pages=0"]
)
def test_each_screen_answers_and_names_itself(browser, address):
    found = browser.get(address)
    assert found.status_code == 200
    assert re.search(r'<a href="[^"]*" aria-current="page">', found.text)
    assert len(re.findall("<h1", found.text)) == 1
    for tag, values in Tags(found.text).tags:
        assert not [name for name in values if name == "style" or name.startswith("on")]
        assert tag != "script" or values["src"].startswith("/static/")


@pytest.mark.parametrize("address", ["/", "/types", "/runs", "/journal"])
def test_before_the_first_file_a_newcomer_is_told_what_to_do(tmp_path, told, address):
    (tmp_path / "run").mkdir()
    page = looks(Place(tmp_path / "case", tmp_path / "run")).get(address)
    assert page.status_code == 200
    if address == "/":
        assert "Nothing here yet" in page.text
        assert 'id="drop"' in page.text
        assert "What a verdict does not mean" in page.text


def test_a_card_says_what_the_report_says(browser, case):
    page = browser.get("/").text
    said = text_of(page)
    for outcome, _ in KINDS.values():
        assert outcome.brief in said
    assert "> 99.9 %" in said
    assert "100.0 %" not in said
    assert "11 files: 3 attributed to a known type" in said
    assert "known:swap, but real-consistent" in said


def test_without_a_run_nothing_is_sent_and_the_page_says_why(browser):
    page = browser.get("/").text
    assert 'id="drop"' not in page
    assert "--run RUN" in text_of(page)


def test_a_run_that_gives_no_verdicts_says_why_before_a_file_is_sent(case, tmp_path, monkeypatch):
    async def attribution(self):
        raise UserError("run: is not calibrated; run owdfa calibrate run")

    monkeypatch.setattr(Service, "attribution", attribution)
    browser = looks(Place(case.folder, tmp_path / "run"))
    assert 'hx-get="/ready"' in browser.get("/").text
    assert "is not calibrated" in browser.get("/ready").text
    assert "is not calibrated" in browser.get("/types").text


def test_a_run_that_gives_verdicts_is_ready(case, told, tmp_path):
    assert looks(Place(case.folder, tmp_path / "run")).get("/ready").text == ""


@pytest.mark.parametrize("address", ["/", "/types", "/journal", "/files/{}"])
def test_names_that_would_do_harm_are_text(browser, case, address):
    page = browser.get(address.format(sha(case, f"{HOSTILE}.png"))).text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page or address == "/types"


def test_outcomes_are_filtered_and_counted(browser):
    page = browser.get("/?kind=inconclusive").text
    assert sorted(names(page)) == ["f.png", "g.png"]
    assert "2 files, inconclusive" in text_of(page)
    part = browser.get("/files?kind=inconclusive")
    assert sorted(names(part.text)) == ["f.png", "g.png"]
    assert part.headers["HX-Replace-Url"] == "/?kind=inconclusive"
    assert "<html" not in part.text


@pytest.mark.parametrize(
    ("query", "found"),
    [("two", ["two.png"]), ("FORGED", ["b.png"]), ("novel .mp4", ["clip.mp4"]), ("nothing", [])],
)
def test_files_are_searched_by_name_and_verdict(browser, query, found):
    page = browser.get("/files", params={"q": query}).text
    assert names(page) == found
    assert found or "No file fits" in page


def test_files_are_sorted(browser):
    def order(how):
        return names(browser.get("/files", params={"sort": how}).text)

    assert order("newest") == order("oldest")[::-1]
    assert order("name") == sorted(order("name"), key=str.casefold)
    assert order("surest")[0] == "e.png"
    assert order("unsure")[0] == "clip.mp4"
    assert set(order("unsure")[-3:]) == {"f.png", "g.png", "h.png"}


def test_files_are_paged_and_the_address_keeps_the_place(browser, monkeypatch):
    monkeypatch.setattr(attribute, "PAGE", 4)
    first, second = browser.get("/"), browser.get("/files?page=2")
    assert len(names(first.text)) == len(names(second.text)) == 4
    assert not set(names(first.text)) & set(names(second.text))
    assert "page=2" in first.text
    assert second.headers["HX-Replace-Url"] == "/?pages=2"
    assert names(browser.get("/?pages=2").text) == names(first.text) + names(second.text)
    last = browser.get("/files?page=3").text
    assert len(names(last)) == 3
    assert "page=4" not in last


def test_a_file_has_all_that_is_said_of_it(browser, case):
    page = browser.get(f"/files/{sha(case, 'two.png')}").text
    said = text_of(page)
    for part in ("2 verdicts", "Face 1: 50 x 60 pixels", "10^2.50 for a known class", "jpeg-75",
                 "Not excluded at 90.0 %", "threshold of class: 80.0 %", "0.8"):  # fmt: skip
        assert part in said
    assert len(re.findall('<rect class="edge"', page)) == 2
    assert "/face/1" in page


def test_a_video_has_a_timeline(browser, case):
    page = browser.get(f"/files/{sha(case, 'clip.mp4')}").text
    assert 'class="timeline"' in page
    assert "frames after 5 s were left out" in page


def test_one_goes_from_file_to_file_within_what_was_chosen(browser, case):
    page = browser.get(f"/files/{sha(case, 'g.png')}?kind=inconclusive&sort=name").text
    assert "2 of 2" in page
    assert f'href="/files/{sha(case, "f.png")}?kind=inconclusive&amp;sort=name"' in page
    assert 'id="next"' not in page


def test_a_file_that_was_moved_away_says_so(browser, case, tmp_path):
    digest = sha(case, "a.png")
    assert 'id="gone"' not in browser.get(f"/files/{digest}").text
    (tmp_path / "inputs" / "a.png").unlink()
    assert 'id="gone"' in browser.get(f"/files/{digest}").text


def test_a_file_that_is_not_of_the_case_is_one_line(browser):
    found = browser.get("/files/0000")
    assert found.status_code == 404
    assert "is the SHA-256 of no file" in text_of(found.text)


def test_verdicts_are_downloaded(browser, case):
    one = browser.get(f"/v1/verdicts/{sha(case, 'a.png')}")
    assert one.json()["schema"] == "owdfa/verdict/1"
    lines = browser.get("/verdicts.jsonl").text.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [i.verdict.path for i in case.items()]
    assert browser.get("/verdicts.csv").text.startswith("path,sha256")


def test_the_report_of_the_case_as_it_is_is_made_once_and_then_there(
    case, told, monkeypatch, tmp_path
):
    asked = []

    async def command(self, kind, arguments, who):
        asked.append((kind, arguments, who))
        return JobState(id="1f", kind=kind, state="waiting", created="", who=who, num_files=0,
                        num_done=0)  # fmt: skip

    monkeypatch.setattr(Service, "command", command)
    browser = looks(Place(case.folder, tmp_path))
    assert 'id="make-report"' in browser.get("/").text
    part = browser.post("/report", headers={"Cookie": "owdfa-who=eve"}).text
    ((kind, arguments, who),) = asked
    name = f"evidence-{case.head[:12]}.html"
    assert (kind, who) == ("report", "eve")
    assert arguments[:2] == [str(case.folder), "-o"]
    assert arguments[2] == str(case.folder / "downloads" / name)
    assert arguments[3:] == ["--run", str(tmp_path)]  # the one that was recorded is gone
    assert f'data-job="1f" data-file="/downloads/{name}"' in part
    (case.folder / "downloads" / name).write_text("<p>evidence</p>")
    assert f'href="/downloads/{name}"' in browser.get("/").text
    case.record("note", {}, who="ann")
    assert 'id="make-report"' in browser.get("/").text


def test_types_are_those_of_the_verdicts_where_the_run_is_gone(browser):
    said = text_of(browser.get("/types").text)
    assert "can name 2 known types and 1 group of" in said
    assert "The run is not at hand" in said
    assert "Few groups." in said


def test_types_have_their_accuracy_and_examples(told, tmp_path, case):
    run = make_run(tmp_path / "made")
    browser = looks(Place(case.folder, run))
    page = browser.get("/types").text
    assert "75.0" in text_of(page)
    assert "No training images are shown" not in page
    example = browser.get("/types/0/0.jpg")
    assert example.content.startswith(b"\xff\xd8")
    assert page.count("/types/0/") == 6


def test_an_example_that_there_is_not_is_not_found(told, tmp_path, case):
    browser = looks(Place(case.folder, make_run(tmp_path / "made")))
    assert browser.get("/types/99/0.jpg").status_code == 404
    assert browser.get("/types/0/99.jpg").status_code == 404


def test_groups_that_were_named_are_types_to_be(told, tmp_path):
    case = by_hand(tmp_path / "case", {"novel-aaaa": ["1", "2"], "novel-bbbb": ["3"]})
    act(case, lambda review: Name(group="novel-aaaa", name=f"Forge {HOSTILE}"), who="ann")
    page = looks(Place(case.folder, make_run(tmp_path / "made"))).get("/types").text
    assert "Forge &#34;&gt;&lt;img" in page
    assert "<img src=x" not in page


def test_lines_of_the_journal_are_newest_first_and_in_words(browser, case):
    page = browser.get("/journal").text
    assert re.findall(r'<tr id="line-(\d+)"', page) == ["3", "2", "1"]
    said = text_of(page)
    assert "attributed : 6 files: owdfa attribute" in said
    assert case.head in page
    assert re.findall(r'<tr id="line-(\d+)"', browser.get("/journal?what=created").text) == ["1"]
    assert re.findall(r'<tr id="line-(\d+)"', browser.get("/journal?who=ann").text) == ["2", "1"]
    assert "No line fits" in browser.get("/journal?who=nobody").text


def test_the_journal_is_paged(browser, monkeypatch):
    monkeypatch.setattr(journal, "PAGE", 2)
    page = browser.get("/journal").text
    assert "before=2" in page
    rest = browser.get("/journal/lines?before=2").text
    assert re.findall(r'<tr id="line-(\d+)"', rest) == ["1"]
    assert "<html" not in rest


def test_the_journal_is_checked_on_request(browser, case):
    post = {"headers": {"Sec-Fetch-Site": "same-origin"}}
    found = browser.post("/journal/check", **post)
    assert "All 3 lines have their hash" in text_of(found.text)
    noted = case.entries[1].hash
    found = browser.post("/journal/check", data={"noted": f" {noted[:12].upper()}"}, **post)
    assert "Line 2 of" in text_of(found.text)
    found = browser.post("/journal/check", data={"noted": "abcdef123456"}, **post)
    assert "no line has the hash abcdef123456" in text_of(found.text)


def test_what_was_altered_is_named_where_one_looks(browser, case):
    path = case.journal.path
    path.write_text(path.read_text().replace('"ann"', '"eve"'))
    page = browser.get("/journal")
    assert page.status_code == 400
    assert "line 1 was altered" in text_of(page.text)
    found = browser.post("/journal/check").text
    assert "line 1 was altered" in text_of(found)
    assert "line 2 was altered" in text_of(found)


@pytest.fixture
def two(tmp_path, told, case):
    """Looks at a run that is served, and at another beside it."""
    made = [make_run(tmp_path / "runs" / name, selection=selection)
            for name, selection in (("first", "last"), ("second & <b>", "oracle"))]  # fmt: skip
    (made[1] / "report.html").write_text("<p>its own</p>")
    return looks(Place(case.folder, made[0]))


def test_runs_stand_side_by_side_and_an_oracle_says_so(two):
    page = two.get("/runs").text
    said = text_of(page)
    assert "It gives the verdicts here" in said
    assert page.count('class="oracle"') == 1
    assert "second & <b>" in said
    assert "<b>" not in page.split("<table")[1].split("</thead>")[1].split("</table>")[0]
    other = two.get("/runs/second%20%26%20%3Cb%3E").text
    assert "test labels chose the checkpoint" in text_of(other).lower()


def test_curves_and_settings_of_a_run_are_shown(two):
    page = two.get("/runs").text
    assert len(re.findall('<polyline class="line-0" points="0.0,', page)) >= 3
    assert "ccr_weight = 0.2 # &lt;b&gt;" in page
    assert "nan" not in page


def test_a_run_s_own_report_is_kept_from_the_page(two):
    found = two.get("/runs/second%20%26%20%3Cb%3E/report.html")
    assert found.text == "<p>its own</p>"
    assert found.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in found.headers["content-security-policy"]
    assert two.get("/runs/first/report.html").status_code == 404
    assert "frame-ancestors" in two.get("/runs").headers["content-security-policy"]


@pytest.mark.parametrize("name", ["nosuch", "%2e%2e%2fsecret", "runs%5cfirst"])
def test_a_run_that_is_not_beside_the_one_served_is_one_line(two, name):
    assert two.get(f"/runs/{name}").status_code == 404
    assert two.get(f"/runs/{name}/report.html").status_code == 404


def test_scores_that_cannot_be_read_are_named_and_the_others_shown(two, tmp_path):
    (tmp_path / "runs" / "first" / "scores.json").write_text("{}")
    said = text_of(two.get("/runs").text)
    assert "scores.json: is not scores" in said
    (tmp_path / "runs" / "second & <b>" / "run.json").write_text('{"schema": "owdfa/run/1"}')
    assert "train again" in text_of(two.get("/runs").text)


def test_many_runs_are_cut_and_counted(two, monkeypatch):
    monkeypatch.setattr(runs, "MAX_RUNS", 1)
    assert "1 more runs are not shown" in text_of(two.get("/runs").text)


def test_an_exported_network_has_no_log(told, tmp_path, case):
    (tmp_path / "model.onnx").write_bytes(b"")
    page = looks(Place(case.folder, tmp_path / "model.onnx")).get("/runs")
    assert "is an exported network" in text_of(page.text)
