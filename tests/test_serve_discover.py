"""The page of groups: every decision, what others did meanwhile, images, two groups, the map."""

import re

import numpy as np
import pytest
from starlette.testclient import TestClient

from owdfa.case import Case, check
from owdfa.case.review import open_review
from owdfa.serve.app import make_app
from owdfa.serve.layout import _places as places_of
from owdfa.serve.place import Place
from owdfa.serve.service import JobState, Service
from owdfa.serve.settings import ServeSettings
from owdfa.stages import discover as stage
from owdfa.stages.discover import DiscoverOptions
from owdfa.stages.review import Reviewer
from owdfa.whitening import unit_length
from small_groups import add, predictor, sha, squares_case, write_squares

HTMX = {"HX-Request": "true"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


@pytest.fixture
def case(tmp_path):
    """Red and green squares of no known type, blue ones that are known, and one that is alone."""
    return squares_case(tmp_path)


@pytest.fixture
def found(case, monkeypatch):
    """Its groups: id by colour."""
    monkeypatch.setattr(stage.Predictor, "open", lambda *a, **k: predictor())
    options = DiscoverOptions(jobs=1, num_parts=2)
    groups = stage.discover(case.folder, run=case.folder, options=options).clusters
    return {
        colour: next(x.id for x in groups if names(case, colour) & set(x.members))
        for colour in ("red", "green")
    }


@pytest.fixture
def page(case):
    place = Place(case.folder, None)
    return TestClient(make_app(place, ServeSettings()), base_url="http://127.0.0.1:8765")


def names(case, colour):
    photos = case.folder.parent / "photos"
    return {sha(path) for path in photos.glob(f"{colour}*")}


def head(case):
    return Case.open(case.folder).head


def groups_of(case):
    return open_review(Case.open(case.folder)).state.groups


def ask(page, case, path, at="/discover", **fields):
    """Send a form as the page does."""
    data = {"head": head(case), "at": at, **fields}
    return page.post(f"/discover{path}", data=data, headers=HTMX)


def done(answer):
    assert answer.status_code == 200, answer.text
    (said,) = re.findall(r'<p class="done">(?:Done: )?(.*?)\s*(?:<|\n)', answer.text)
    return said


def test_a_case_without_groups_says_what_discover_does_and_starts_it(case, page, monkeypatch):
    asked = []

    async def command(self, kind, arguments, who):
        asked.append((kind, *arguments, who))
        return JobState(
            id="j1", kind=kind, state="running", created="", who=who, num_files=0, num_done=0
        )

    monkeypatch.setattr(Service, "command", command)
    first = page.get("/discover").text
    assert "21 images of this case have no known type" in first
    assert 'hx-post="/discover/run"' in first
    page.cookies.set("owdfa-who", "ann%20b")
    chosen = {"by": "density", "min_size": "4"}
    answer = page.post("/discover/run", data=chosen, headers={"HX-Request": "true"})
    assert 'hx-get="/discover/jobs/j1"' in answer.text
    assert asked == [("discover", str(case.folder), "--by", "density", "--min-size", "4", "ann b")]
    assert page.post("/discover/run", data={"by": "x", "min_size": "4"}).status_code == 422
    # Before htmx is there, or without it: the whole screen, which shows the job.
    answer = page.post("/discover/run", data=chosen, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/discover")
    running = JobState(
        id="j1", kind="discover", state="running", created="", who="", num_files=0, num_done=0
    )
    monkeypatch.setattr(Service, "jobs", lambda self, limit: [running])
    assert 'hx-get="/discover/jobs/j1"' in page.get("/discover").text


def test_nothing_to_group_is_said(tmp_path):
    place = Place(tmp_path / "case", None)
    page = TestClient(make_app(place, ServeSettings()), base_url="http://127.0.0.1:8765")
    assert "Attribute some first" in page.get("/discover").text


@pytest.mark.parametrize(
    ("state", "text"),
    [("running", "every 1s"), ("done", 'data-done="discover"'), ("failed", "role=\"alert\"")],
)  # fmt: skip
def test_a_job_is_shown_as_it_is(page, monkeypatch, state, text):
    job = JobState(
        id="j", kind="discover", state=state, created="", who="", num_files=4, num_done=1, note="n"
    )
    monkeypatch.setattr(Service, "job", lambda self, id_: job if id_ == "j" else None)
    part = {"HX-Request": "true"}
    assert text in page.get("/discover/jobs/j", headers=part).text
    assert "not known any more" in page.get("/discover/jobs/k", headers=part).text


def test_cards_are_sorted_and_filtered(case, found, page):
    Reviewer(case.folder).name(found["red"], "FaceForge 2")

    def shown(query):
        return re.findall(r'id="card-(novel-\w+)"', page.get(f"/discover{query}").text)

    assert shown("") == [found["green"], found["red"]]
    assert shown("?sort=size") == [found["red"], found["green"]]
    assert shown("?show=named") == [found["red"]]
    assert shown("?show=rejected") == []
    assert page.get("/discover?show=x").status_code == 422
    text = page.get("/discover").text
    assert "12 images" in text
    assert "JPEG" in text
    assert 'value="FaceForge 2"' in text


def test_a_group_is_named_with_who_and_undone_and_redone(case, found, page):
    page.cookies.set("owdfa-who", "ann")
    answer = ask(page, case, f"/{found['red']}/name", name=" FaceForge  2 ")
    assert done(answer) == f"named {found['red']} &#34;FaceForge 2&#34;."
    assert 'id="view"' in answer.text
    group = groups_of(case)[found["red"]]
    assert (group.name, group.named.who) == ("FaceForge 2", "ann")
    what = f"named {found['red']} &#34;FaceForge 2&#34;."
    assert done(ask(page, case, "/undo")) == f"Took back: {what}"
    assert groups_of(case)[found["red"]].name is None
    assert done(ask(page, case, "/redo")) == f"Done again: {what}"
    assert groups_of(case)[found["red"]].name == "FaceForge 2"
    assert "nothing to redo" in ask(page, case, "/redo").text
    assert check(case.folder) == []


def test_a_name_of_a_known_type_is_warned_of_and_one_of_a_group_refused(case, found, page):
    answer = ask(page, case, f"/{found['red']}/name", name="swap")
    assert "swap is a known type" in answer.text
    answer = ask(page, case, f"/{found['green']}/name", name="swap")
    assert answer.status_code == 400
    assert "merge the two" in answer.text
    assert "needs some text" in ask(page, case, f"/{found['green']}/name", name=" ").text
    text = page.get(f"/discover/{found['green']}").text
    assert '<option value="real" data-hint="is a known type' in text
    assert f'<option value="swap" data-group="{found["red"]}"' in text


def test_groups_are_merged_and_the_page_goes_to_the_one_that_is_left(case, found, page):
    red, green = found["red"], found["green"]
    assert "choose the one" in ask(page, case, "/merge", into=red, other="").text
    at = f"/discover/compare?a={green}&b={red}"
    answer = ask(page, case, "/merge", at=at, into=red, other=f"{green} {red}")
    assert done(answer) == f"merged {green} into {red}."
    assert answer.headers["HX-Replace-Url"] == f"/discover/{red}"
    assert len(groups_of(case)[red].members) == 21
    gone = page.get(f"/discover/{green}")
    assert gone.status_code == 404
    assert f'href="/discover/{red}"' in gone.text


def test_selected_images_are_split_off_moved_and_made_a_group(case, found, page):
    red, green = found["red"], found["green"]
    first, second, *_ = sorted(names(case, "red"))
    blue = min(names(case, "blue"))
    answer = ask(page, case, f"/{red}/split", at=f"/discover/{red}", images=f"{first} {second}")
    (new,) = groups_of(case).keys() - {red, green}
    assert done(answer) == f"split 2 images off {red}, as {new}."
    assert f'href="/discover/{new}"' in answer.text
    done(ask(page, case, "/move", images=f"{first} {blue}", to=green))
    assert groups_of(case)[new].members == {second}
    assert {first, blue} < groups_of(case)[green].members
    done(ask(page, case, "/move", images=f"{first} {blue}", to=""))
    (made,) = groups_of(case).keys() - {red, green, new}
    assert groups_of(case)[made].members == {first, blue}
    assert "no image is selected" in ask(page, case, "/move", images=" ", to=red).text
    assert "no such image" in ask(page, case, "/move", images="f" * 64, to=red).text


def test_the_proposed_halves_are_what_is_split(case, found, page):
    red = found["red"]
    shown = page.get(f"/discover/{red}/halves").text
    half = Reviewer(case.folder).half(red)
    assert f"Goes: {len(half)} image" in shown
    assert len(re.findall(r"/pictures/\w{64}/thumb", shown)) == 12
    done(ask(page, case, f"/{red}/split"))
    (new,) = groups_of(case).keys() - set(found.values())
    assert groups_of(case)[new].members == set(half)


def test_groups_are_rejected_and_noted(case, found, page):
    done(ask(page, case, f"/{found['green']}/reject"))
    done(ask(page, case, f"/{found['green']}/note", text="same banner"))
    assert groups_of(case)[found["green"]].rejected
    text = page.get(f"/discover/{found['green']}").text
    assert "same banner" in text
    assert "rejected by" in text


def test_who_saw_less_is_told_and_nothing_is_done(case, found, page):
    seen = head(case)
    Reviewer(case.folder, who="bob").name(found["red"], "X <b>")
    before = head(case)
    page.cookies.set("owdfa-who", "ann")
    data = {"head": seen, "at": "/discover", "name": "Y"}
    answer = page.post(f"/discover/{found['red']}/name", data=data, headers=HTMX)
    assert answer.status_code == 409
    assert f"bob named {found['red']} &#34;X &lt;b&gt;&#34;" in answer.text
    assert head(case) == before
    since = page.get(f"/discover/since?head={seen}").text
    assert "bob named" in since
    assert page.get(f"/discover/since?head={before}").status_code == 204
    assert page.get("/discover/since?head=nothing").status_code == 204


def test_a_form_without_what_was_seen_is_refused(case, found, page):
    answer = page.post(f"/discover/{found['red']}/reject", headers=HTMX)
    assert answer.status_code == 400
    assert "load the page again" in answer.text


def test_without_script_a_form_leads_back_to_its_page_and_to_no_other(case, found, page):
    assert page.get("/discover/map").status_code == 200
    others = dict.fromkeys(
        ("//evil.example/", "https://evil.example", "x:/discover", "/discovery"), "/discover"
    )
    for at, leads in {"/discover/map": "/discover/map", **others}.items():
        data = {"head": head(case), "at": at, "text": "n"}
        answer = page.post(f"/discover/{found['red']}/note", data=data, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, leads)


def test_hostile_names_are_text(case, found, page):
    done(ask(page, case, f"/{found['red']}/name", name=HOSTILE))
    done(ask(page, case, f"/{found['green']}/note", text=HOSTILE))
    pair = f"compare?a={found['red']}&b={found['green']}"
    for path in ("", f"/{found['red']}", f"/{found['green']}", f"/{pair}", "/none", "/map"):
        text = page.get(f"/discover{path}").text
        assert "<img src=x" not in text
        assert "49" not in re.findall(r"alert\(1\)&gt;[^<]{0,40}", text)
        assert "onclick" not in text
        assert "style=" not in text
    shown = page.get("/discover/%3Cscript%3Ealert(1)")
    assert shown.status_code == 404
    assert "<script>alert" not in shown.text


def test_images_of_a_group_come_a_page_at_a_time_with_marks(case, found, page, monkeypatch):
    monkeypatch.setattr("owdfa.serve.pages.discover.PAGE", 5)
    monkeypatch.setattr("owdfa.serve.pages.group_views.PAGE", 5)
    red = found["red"]
    text = page.get(f"/discover/{red}").text
    counts = re.findall(r'data-count="(\d+)"', text)
    assert counts == ["5", "5", "2"]
    order = page.get(f"/discover/{red}/order").json()
    assert set(order) == names(case, "red")
    parts = [page.get(f"/discover/{red}/images?page={n}").text for n in range(3)]
    assert [x for part in parts for x in re.findall(r'value="(\w{64})"', part)] == order
    assert "central" in parts[0]
    assert "red-" in parts[0]
    assert page.get(f"/discover/{red}/images?page=-1").status_code == 422
    assert page.get(f"/discover/{red}/order?order=odd").json() == order[::-1]
    by_path = page.get(f"/discover/{red}/order?order=file").json()
    assert by_path == [sha(x) for x in sorted((case.folder.parent / "photos").glob("red*"))]


def test_images_in_no_group_are_shown(case, found, page):
    more = write_squares(case.folder.parent / "photos", "red", range(40, 43))
    add(case, more)
    assert page.get("/discover/none/order").json() == [sha(x) for x in sorted(more)]
    assert "Make a group" in page.get("/discover/none").text
    assert "3 images" in page.get("/discover/none").text


def test_two_groups_are_compared(case, found, page):
    pair = f"/discover/compare?a={found['red']}&b={found['green']}"
    text = page.get(pair).text
    assert "They lie apart" in text
    assert "below 80%" in text
    assert "is one group" in page.get(f"/discover/compare?a={found['red']}&b={found['red']}").text
    assert page.get("/discover/compare?a=x&b=y").status_code == 400
    done(ask(page, case, f"/{found['red']}/split"))
    (new,) = groups_of(case).keys() - set(found.values())
    text = page.get(f"/discover/compare?a={found['red']}&b={new}").text
    assert "not measured" in text.lower()


def test_a_group_that_undo_takes_away_leads_to_all_groups(case, found, page):
    made = Reviewer(case.folder).gather([min(names(case, "blue"))])
    (new,) = made.review.state.groups.keys() - set(found.values())
    answer = ask(page, case, "/undo", at=f"/discover/{new}")
    assert answer.headers["HX-Replace-Url"] == "/discover"
    assert 'data-view="cards"' in answer.text


def test_the_map_holds_every_image_and_is_worked_out_once(case, found, page, monkeypatch):
    about = page.get("/discover/map/about").json()
    data = page.get("/discover/map/points").content
    num = 29
    assert len(data) == num * (8 + 32)
    places = np.frombuffer(data[: 8 * num], "<f4").reshape(num, 2)
    assert np.isfinite(places).all()
    images = [data[8 * num + 32 * n :][:32].hex() for n in range(num)]
    assert set(images) == names(case, "red") | names(case, "green") | names(case, "blue")
    kinds = about["kinds"]
    of = [(kinds["group"]["ids"] + [None])[x] for x in kinds["group"]["values"]]
    assert {x for x, id_ in zip(images, of, strict=True) if id_ == found["red"]} == names(
        case, "red"
    )
    assert sum(about["known"]) == 8
    assert sorted(set(kinds["verdict"]["names"])) == ["inconclusive", "known:swap", "novel"]
    assert len(kinds["folder"]["names"]) == 1
    assert [about["files"][n][:4] for n, id_ in enumerate(of) if id_ is None] == ["blue"] * 8
    red = places[[id_ == found["red"] for id_ in of]]
    green = places[[id_ == found["green"] for id_ in of]]
    apart = np.linalg.norm(red.mean(axis=0) - green.mean(axis=0))
    assert apart > np.linalg.norm(red - red.mean(axis=0), axis=1).mean()
    monkeypatch.setattr("owdfa.serve.layout.project", None)
    assert page.get("/discover/map/points").content == data
    ask(page, case, f"/{found['red']}/name", name="X")
    after = page.get("/discover/map/about").json()
    assert after["layout"] == about["layout"]
    assert "X" in after["kinds"]["group"]["names"]


def test_images_beyond_the_sample_of_the_map_lie_among_those_that_are_alike(monkeypatch):
    monkeypatch.setattr("owdfa.stages.report.embedding.MAX_POINTS", 40)
    stream = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)[[0, 3]].repeat(60, axis=0)
    rows = unit_length(centres + stream.normal(0, 0.05, centres.shape).astype(np.float32))
    found = places_of(rows)
    first, second = found[:60], found[60:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    for part in (first, second):
        assert np.linalg.norm(part - part.mean(axis=0), axis=1).max() < apart
    assert places_of(np.ones((3, 8), np.float32)).shape == (3, 2)
    assert np.isfinite(places_of(np.ones((30, 8), np.float32))).all()


def test_there_is_no_map_before_groups(case, page):
    assert "no map before" in page.get("/discover/map").text
    assert page.get("/discover/map/about").status_code == 400


def test_what_is_named_can_be_promoted_and_the_next_commands_are_shown(case, found, page):
    assert "none has a name yet" in page.get("/discover").text
    Reviewer(case.folder).name(found["red"], "FaceForge 2")
    assert 'hx-post="/discover/promote"' in page.get("/discover").text
    about = {"classes": {"FaceForge 2": 12}, "output": "o.parquet", "next": ["owdfa split <o>"]}
    case.journal.reload()
    case.record("promoted", about, who="bob")
    text = page.get("/discover").text
    assert "Promoted by bob" in text
    assert "owdfa split &lt;o&gt;" in text


def test_files_of_another_run_can_be_looked_at_again(case, found, page, monkeypatch):
    asked = []

    async def command(self, kind, arguments, who):
        asked.append((kind, *arguments))
        return JobState(
            id="j1", kind=kind, state="done", created="", who=who, num_files=0, num_done=0, note="n"
        )

    monkeypatch.setattr(Service, "command", command)
    assert 'id="run-rescan"' not in page.get("/discover").text  # no run is served
    assert "no run is served" in page.post("/discover/rescan").text
    page.app.state.service.place.run = case.folder.parent / "other"
    assert 'id="run-rescan"' in page.get("/discover").text
    page.post("/discover/rescan", data={"keep": "true"})
    table = case.folder / "downloads" / "changes.csv"
    run = case.folder.parent / "other"
    assert asked == [("rescan", str(case.folder), "--run", str(run), "-o", str(table), "--keep")]
