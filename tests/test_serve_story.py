"""A whole story in a browser: unknown images become named types of the next round of training."""

import hashlib
import shlex
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from browser import looking
from owdfa.case import check
from small_server import Process

KNOWN = ("real", "swap-1", "reenact-1", "edit-1", "generate-1")
HIDDEN = ("swap-3", "reenact-2", "generate-2")
NAMES = dict(zip(HIDDEN, ("SwapForge", "Puppeteer <b>2</b>", "Dreamer"), strict=True))


def owdfa(folder, *arguments):
    """Run a command as a person does; what it printed."""
    command = [sys.executable, "-m", "owdfa", *map(str, arguments)]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Photographs of known types, a pile of hidden ones, and a run that knows the former."""
    folder = tmp_path_factory.mktemp("story")
    drawn = {"images_per_method": 40, "real_images": 60, "size": 64, "trace_strength": 4}
    settings = [part for name, value in drawn.items() for part in ("--set", f"{name}={value}")]
    owdfa(folder, "data", "draw", "images", *settings)
    for name in KNOWN:
        shutil.copytree(folder / "images" / name, folder / "photos" / name)
    for place in ("photos/_unlabelled", "pile", "later"):
        (folder / place).mkdir()
    for name in HIDDEN:
        for number, file in enumerate(sorted((folder / "images" / name).iterdir())):
            place = ("photos/_unlabelled", "pile", "pile", "later")[number % 4]
            shutil.copy(file, folder / place / f"{name}-{file.name}")
    owdfa(
        folder, "run", "folder:photos/", "-o", "first", "--method", "plda", "--validation", "0.25"
    )
    return folder


@pytest.mark.slow
def test_a_pile_of_unknown_images_becomes_known_types(story):
    server = Process(story / "case", story / "first")
    try:
        with looking("review") as looker:
            attribute(looker, server.client, story)
            commands = review(looker, server.client, story)
    finally:
        server.stop()
    assert [each.split()[1] for each in commands] == ["data", "split", "train", "rescan"]
    for each in commands:
        printed = owdfa(story, *shlex.split(each)[1:])
    assert "known type" in printed
    second = shlex.split(commands[2])[-1]
    server = Process(story / "case", second)
    try:
        with looking("second") as looker:
            known_now(looker, server.client, story)
    finally:
        server.stop()
    assert check(story / "case") == []


def attribute(looker, client, story):
    """Send the pile, and read what is said of a file."""
    page = looker.page
    page.goto(f"http://{client.host}/")
    looker.look("empty")
    page.get_by_label("Reviewer").fill("Ada")
    page.get_by_label("Reviewer").press("Tab")
    files = sorted((story / "pile").iterdir())
    page.set_input_files("#input", files)
    page.locator("#message", has_text=f"{len(files)} files looked at.").wait_for()
    assert page.locator("#list article").count() > 0
    looker.look("attribute")
    page.locator("#list article h3 a").first.click()
    page.locator("article.face").wait_for()
    looker.look("file")
    page.go_back()


def truth(client, story, id_):
    """The type that most images of a group are of, and how many they are."""
    members = client.get(f"/v1/groups/{id_}").json["members"]
    types = Counter(name for file, name in _pile(story) if file in members)
    return types.most_common(1)[0]


def _pile(story):
    for place in sorted((story / "pile").iterdir()):
        yield hashlib.sha256(place.read_bytes()).hexdigest(), place.name.rsplit("-", 1)[0]


def review(looker, client, story):
    """Find groups, merge those of one type, name them, promote; the commands that come next."""
    page = looker.page
    page.get_by_role("link", name="Discover").click()
    looker.look("start")
    page.get_by_role("button", name="Look for groups").click()
    page.locator("#cards article").first.wait_for()
    looker.look("groups")
    ids = [each.get_attribute("data-group") for each in page.locator("#cards article").all()]
    types = {id_: truth(client, story, id_) for id_ in ids}
    assert {name for name, _ in types.values()} == set(HIDDEN)
    for name in HIDDEN:
        same = [id_ for id_ in ids if types[id_][0] == name]
        if len(same) > 1:
            merge(page, same)
        page.locator(f"#name-{same[0]}").fill(NAMES[name])
        page.locator(f"#do-name-{same[0]}").click()
        page.locator("#message", has_text="named").wait_for()
    page.locator("#undo").click()
    page.locator("#message", has_text="Took back").wait_for()
    page.locator("#redo").click()
    page.locator("#message", has_text="Done again").wait_for()
    looker.look("named")
    page.get_by_role("link", name=NAMES["swap-3"]).first.click()
    page.locator("#grid .thumb").first.wait_for()
    looker.look("group")
    page.get_by_role("link", name="Map").click()
    page.locator("#map-area canvas").first.wait_for()
    looker.look("map")
    page.get_by_role("link", name="Groups").click()
    page.get_by_role("button", name="Write the next manifest").click()
    found = page.locator("#next-commands")
    found.wait_for()
    looker.look("promoted")
    return found.inner_text().splitlines()


def merge(page, ids):
    """Merge groups into the first, by choosing their cards."""
    for id_ in ids:
        page.locator(f"#choose-{id_}").check()
    page.locator("#chosen-into").select_option(ids[0])
    page.locator("#do-merge-chosen").click()
    page.locator("#message", has_text="merged").wait_for()


def known_now(looker, client, story):
    """Images that the first round had not seen are of the types that were named."""
    page = looker.page
    page.goto(f"http://{client.host}/types")
    for name in NAMES.values():
        page.get_by_role("row", name=name).first.wait_for()
    looker.look("types")
    page.get_by_role("link", name="Attribute").click()
    later = sorted((story / "later").iterdir())
    page.set_input_files("#input", later)
    page.locator("#message", has_text=f"{len(later)} files looked at.").wait_for()
    looker.look("attribute")
    named = Counter()
    for file in later:
        found = client.get(f"/v1/verdicts/{hashlib.sha256(file.read_bytes()).hexdigest()}").json
        outcome, true = found["verdicts"][0]["outcome"], NAMES[file.name.rsplit("-", 1)[0]]
        if outcome["kind"] == "known":
            named[outcome["name"] == true] += 1
    assert named[True] >= len(later) / 3  # of the others nothing so particular is said
    assert named[False] == 0
    page.get_by_role("link", name="Discover").click()
    page.get_by_text("have their verdicts by another run").wait_for()
    page.get_by_role("button", name="Change them").click()
    page.locator("#rescanned", has_text="the new verdicts hold now").wait_for()
    assert page.get_by_text("have their verdicts by another run").count() == 0
    looker.look("rescanned")
    for screen in ("Runs", "Journal"):
        page.get_by_role("link", name=screen).click()
        looker.look(screen.lower())
