"""The story of a case: attribute, report, verify; and whatever is altered is found."""

import base64
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from command_line import cli, done, refused
from owdfa.case import Case
from owdfa.records.calibration import Calibration, Threshold
from owdfa.records.scores import Scores
from owdfa.records.stress import Share, Stress, StressLevel
from owdfa.records.verdict import Box
from owdfa.runs.settings import load_settings
from owdfa.stages.evidence import card, content, report_case
from owdfa.stages.evidence import page as page_module
from owdfa.stages.evidence.networks import Places, start_networks
from owdfa.stages.train import train
from owdfa.stages.verify import check_weights, verify
from owdfa.stages.verify.differences import compare_pages
from test_report import Tags
from tiny_data import CLASSES, DRIFT, SIDE, make_data

HOSTILE = "<i>&\"' {{ 7 * 7 }}.png"


class Story(NamedTuple):
    """Folders and files of a case whose run is at hand."""

    run: Path
    case: Path
    page: Path


def always(statement):
    """A threshold that every statement of this kind passes."""
    return Threshold(
        statement=statement, threshold=0.0, budget=0.01, bound=0.05, confidence=0.95,
        num_groups=12, num_wronged=1, recall=0.75,
    )  # fmt: skip


def write_inputs(folder):
    """A picture of the colour of a class, a larger one of another, one damaged, one empty."""
    folder.mkdir()
    random = np.random.default_rng(0)
    colours = random.integers(30, 220, (len(CLASSES), 1, 1, 3))  # tiny_data's
    for name, colour, side in (("photo.png", 1, SIDE), (HOSTILE, 0, 2 * SIDE)):
        pixels = (colours[colour] + random.integers(-4, 5, (side, side, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "bad.png").write_bytes((folder / "photo.png").read_bytes()[:60])
    (folder / "empty.png").write_bytes(b"")


def calibrate(run):
    """Change the calibration of a run so that something is said of every image."""
    thresholds = tuple(map(always, ("class", "forged", "real")))
    families = {"real": "real", "swap": "swap"}
    update = {"thresholds": thresholds, "real": ("real",), "families": families}
    Calibration.read(run).model_copy(update=update).write(run)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Made once; ``story`` is a copy."""
    folder = tmp_path_factory.mktemp("story") / "all"
    data = make_data(folder)
    overrides = [*DRIFT, "epochs=2", "classes=4"]
    train(data.split, folder / "run", settings=load_settings(None, None, overrides))
    calibrate(folder / "run")
    write_inputs(folder / "inputs")
    done("attribute", folder / "run", folder / "inputs", "-o", folder / "case")
    done("report", folder / "case", "-o", folder / "report.html")
    return folder


@pytest.fixture
def story(made, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(made, folder)
    return Story(folder / "run", folder / "case", folder / "report.html")


@pytest.fixture(scope="module")
def page(made):
    return (made / "report.html").read_text(encoding="utf-8")


def holds(story, *options):
    """That verify says in one line that all holds."""
    (line,) = done("verify", story.page, "--case", story.case, *options).splitlines()
    assert line.startswith(f"{story.page}: holds: 4 inputs, ")


def differs(story, *options):
    """The lines with which verify says what does not hold."""
    ended = cli("verify", story.page, "--case", story.case, *options)
    assert ended.status == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout.splitlines()


def test_a_report_holds_where_case_inputs_and_run_were_moved_together(story):
    holds(story)


def test_a_page_is_one_file_without_a_script(page):
    tags = Tags(page)
    for tag, attributes in tags.tags:
        assert tag not in {"link", "iframe", "object", "base", "form"}
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), attributes
    ((attributes, text),) = tags.scripts
    assert attributes == {"type": "application/json", "id": "evidence"}
    assert json.loads(text)["schema"] == "owdfa/evidence/1"
    (policy,) = [each["content"] for _, each in tags.tags if each.get("http-equiv")]
    assert "script-src 'none'" in policy
    assert "i" not in {tag for tag, _ in tags.tags}
    assert unescape(page).count(HOSTILE) >= 2


def test_a_page_says_what_is_known_and_what_that_rests_on(made, page):
    text, case = unescape(page), Case.open(made / "case")
    calibration = Calibration.read(made / "run")
    for item in case.items():
        assert (item.verdict.sha256 or "could not be read") in text
        assert all(verdict.sentence in text for verdict in item.verdict.verdicts)
    for fact in (
        case.head,
        calibration.provenance.split_digest,
        calibration.provenance.weights_digest,
        "It can name 2 known types and ",
        f"{calibration.num_images} images of {calibration.num_groups} groups",
        "This does not show that it is authentic",
        "not measured (owdfa report RUN measures it)",
    ):
        assert fact in text, fact


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(1.0, "> 99.9"), (0.9994, "99.9"), (0.5, "50.0"), (0.0004, "< 0.1"), (None, "\N{EN DASH}")],
)
def test_no_probability_is_shown_as_certain(probability, shown):
    assert page_module._sure(probability) == shown


def test_nearest_examples_are_of_the_named_type(made, page):
    data = json.loads(Tags(page).scripts[0][1])
    found = {each["file"]["path"].split("/")[-1]: each for each in data["inputs"]}
    outcome = found["photo.png"]["file"]["verdicts"][0]["outcome"]
    name = "real" if outcome["kind"] == "real-consistent" else "swap"
    nearest = found["photo.png"]["faces"][0]["nearest"]
    assert len(nearest) == 5
    assert {each["known_class"] for each in nearest} == {name}
    assert all(each["id"].startswith(f"{name}/") for each in nearest)
    cosines = [each["cosine"] for each in nearest]
    assert cosines == sorted(cosines, reverse=True)
    assert found["empty.png"]["state"] == "unread"
    assert found["bad.png"]["faces"] == [
        {"picture": None, "nearest": [], "nearest_pictures": [], "note": None}
    ]


def test_the_same_case_gives_the_same_page(story, page):
    assert report_case(story.case, story.page) == []
    assert story.page.read_text(encoding="utf-8") == page


def test_robustness_is_that_at_the_level_nearest_to_the_inputs(story):
    Image.new("RGB", (SIDE, SIDE)).save(story.case.parent / "other.jpg", quality=70)
    done("attribute", story.run, story.case.parent / "other.jpg", "-o", story.case)
    provenance = Calibration.read(story.run).provenance
    whole = Share(value=0.5, low=None, high=None, num_images=9)

    def level(quality, right):
        return StressLevel(
            corruption="jpeg" if quality else "none", name=f"jpeg-{quality}",
            title="JPEG, quality", label=str(quality or ""), function="jpeg",
            parameters={"quality": quality} if quality else {}, all=whole, known=None, novel=None,
            same=whole, per_class={"real": whole.model_copy(update={"value": right})},
        )  # fmt: skip

    stress = Stress(
        run="run", images="split:test", split_digest="0", applied_to="crops", quick=True,
        engine="onnxruntime", decoder="Pillow", provenance=provenance, known=("real",), novel=(),
        num_images=9, num_left_out=0, num_groups=9, interval=0.95,
        levels=(level(None, 0.99), level(90, 0.8), level(75, 0.734), level(30, 0.2)),
    )  # fmt: skip
    path = story.run / "stress" / "stress.json"
    stress.write(path)
    done("report", story.case, "-o", story.page)
    text = story.page.read_text(encoding="utf-8")
    assert "<td>73.4</td>" in text
    assert "JPEG, quality 75, the level nearest to the inputs, of split:test" in text
    other = provenance.model_copy(update={"weights_digest": "0"})
    stress.model_copy(update={"provenance": other}).write(path)
    done("report", story.case, "-o", story.page)
    assert "stress.json is of other weights" in story.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("quality", "label"), [(None, ""), (96, ""), (94, "90"), (10, "30")])
def test_the_unchanged_images_are_nearest_to_what_is_hardly_compressed(quality, label):
    def level(number):
        return StressLevel.model_construct(
            corruption="jpeg" if number else "none", label=str(number or ""),
            parameters={"quality": number},
        )  # fmt: skip

    stress = Stress.model_construct(levels=tuple(map(level, (None, 90, 30))))
    assert card._nearest_level(stress, quality).label == label


def test_faces_are_framed_in_the_whole_image():
    from small_case import ATTRIBUTION, attributed

    file = attributed(Path("no.png")).verdict
    (verdict,) = file.verdicts
    box = Box(left=-5, top=10, right=40, bottom=60, score=1.0)
    file = file.model_copy(update={"verdicts": (verdict.model_copy(update={"box": box}),)})
    pictures = {}
    name = content._overview(Image.new("RGB", (960, 100), "white"), file, ATTRIBUTION, pictures)
    assert pictures[name].startswith("data:image/jpeg;base64,")
    data = base64.b64decode(pictures[name].split(",")[1])
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (480, 50)
        assert shown.getpixel((20, 15))[2] < 100  # the right edge of the frame, at half the scale
        assert shown.getpixel((100, 15))[2] > 200
    whole = attributed(Path("no.png")).verdict
    assert content._overview(Image.new("RGB", (16, 16)), whole, ATTRIBUTION, {}) is None


def test_inputs_beyond_the_first_have_a_line_in_the_table(story, monkeypatch):
    monkeypatch.setattr(content, "MAX_SHOWN", 1)
    done("report", story.case, "-o", story.page)
    text = story.page.read_text(encoding="utf-8")
    assert text.count("<article") == 1
    assert "details of the first 1 files follow" in text
    assert all((item.verdict.sha256 or "") in text for item in Case.open(story.case).items())
    holds(story)


def test_a_name_that_is_not_utf_8_is_no_obstacle(story):
    folder = story.case.parent / "odd"
    folder.mkdir()
    shutil.copy(story.case.parent / "inputs" / "photo.png", bytes(folder) + b"/\xff.png")
    done("attribute", story.run, folder, "-o", folder.parent / "odd-case")
    done("report", folder.parent / "odd-case", "-o", story.page)
    found = verify(story.page, folder.parent / "odd-case")
    assert found.differences == []


def test_a_report_holds_after_the_case_has_grown(story):
    Case.open(story.case).record("noted", {"text": "seen"})
    holds(story)
    done("report", story.case, "-o", story.page)
    assert "seen" in story.page.read_text(encoding="utf-8")
    holds(story)


def test_accuracies_are_those_of_the_run_where_it_was_scored(story):
    done("report", story.run, "-o", story.run.parent / "run.html")
    scores = Scores.read(story.run / "scores.json")
    lines = differs(story)  # the report was made before that
    assert any("num_images: None on the page" in line for line in lines)
    done("report", story.case, "-o", story.page)
    text = story.page.read_text(encoding="utf-8")
    for each in scores.per_class[:2]:
        assert f'<td class="name">{each["class"]}</td>' in text
        assert f"<td>{100 * each['acc_paper']:.1f}</td>" in text
    holds(story)


@settings(
    max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_character_of_a_report_is_changed_is_found(story, page, data):
    whole = page.encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    story.page.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    ended = cli("verify", story.page, "--case", story.case)
    assert ended.status in (1, 2)
    assert "Traceback" not in ended.stderr
    assert ended.stdout + ended.stderr.split("owdfa: ")[-1]


@settings(max_examples=200, derandomize=True)
@given(data=st.data())
def test_two_pages_that_differ_have_a_line_for_it(page, data):
    place = data.draw(st.integers(0, len(page) - 1))
    sign = chr((ord(page[place]) + data.draw(st.integers(1, 90))) % 128)
    assert compare_pages(Path("x.html"), page[:place] + sign + page[place + 1 :], page)


def test_a_number_that_was_changed_in_the_data_is_named(story, page):
    start = page.index('id="evidence"')
    place = start + re.search(r'"probability":0\.\d\d\d(\d)', page[start:]).start(1)
    digit = "1" if page[place] != "1" else "2"
    story.page.write_text(page[:place] + digit + page[place + 1 :], encoding="utf-8")
    (line,) = differs(story)
    assert re.search(
        r"data\.inputs\[\d\]\.file\.verdicts\[0\].*probability: 0\.\d+ on the page", line
    )


def test_a_number_that_was_changed_in_sight_is_named(story, page):
    story.page.write_text(page.replace("<td>75.0</td>", "<td>76.0</td>", 1), encoding="utf-8")
    (line,) = differs(story)
    assert "76.0" in line
    assert "75.0" in line


def test_an_altered_line_of_the_journal_is_named(story):
    path = story.case / "journal.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"created"', '"CREATED"'))
    (line,) = differs(story)
    assert "journal.jsonl: line 1 was altered" in line
    assert "journal.jsonl: line 1 was altered" in refused("report", story.case, "-o", story.page)


def test_an_altered_verdict_is_named(story):
    path = story.case / "verdicts.jsonl"
    path.write_text(path.read_text().replace("photo", "PHOTO"))
    lines = differs(story)
    assert "verdicts.jsonl: line " in lines[0]


def test_a_journal_that_was_cut_is_found(story):
    Case.open(story.case).record("noted", {"text": "seen"})
    done("report", story.case, "-o", story.page)
    path = story.case / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (line,) = differs(story)
    assert "its hash of the journal is not that of any line" in line


def test_a_changed_input_is_named_and_a_missing_one_is_an_error(story):
    path = story.case.parent / "inputs" / "photo.png"
    Image.new("RGB", (SIDE, SIDE)).save(path)
    lines = differs(story)
    assert "photo.png: has the SHA-256" in lines[0]
    path.unlink()
    line = refused("verify", story.page, "--case", story.case)
    assert "photo.png" in line
    assert "put the file back" in line
    done("report", story.case, "-o", story.page)
    assert "<b>Missing</b>" in story.page.read_text(encoding="utf-8")


def test_copies_of_inputs_are_as_good_as_the_inputs(story, tmp_path):
    inputs, case = story.case.parent / "inputs", tmp_path / "other"
    done("attribute", story.run, inputs, "-o", case, "--copy")
    shutil.rmtree(inputs)
    done("report", case, "-o", tmp_path / "page.html")
    holds(Story(story.run, case, tmp_path / "page.html"))


def test_verdicts_that_the_network_does_not_give_are_named(story):
    """A journal that was forged as a whole is consistent, and still does not hold."""
    case, forged = Case.open(story.case), story.case.parent / "forged"
    other = Case.create(forged)
    for item in case.items():
        verdicts = tuple(
            each.model_copy(update={"probability": 0.25}) for each in item.verdict.verdicts
        )
        file = item.verdict.model_copy(update={"verdicts": verdicts})
        ((attribution, _),) = case.attributions().values()
        from owdfa.case import Attributed

        other.add([Attributed(file, item.place)], attribution)
    page = story.case.parent / "forged.html"
    done("report", forged, "-o", page, "--run", story.run)
    lines = differs(Story(story.run, forged, page), "--run", story.run)
    assert any("probability: 0.25 in the case, 0." in line for line in lines)


def test_altered_weights_are_named(story):
    networks = start_networks(Case.open(story.case), Places())
    (path,) = (story.run / "checkpoints").glob("*/weights.safetensors")
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)
    (line,) = (line for network in networks.values() for line in check_weights(network))
    assert "weights.safetensors: has the SHA-256" in line
    # Where it is these weights that compute, they are refused.
    assert "weights.safetensors: is damaged" in refused("verify", story.page, "--case", story.case)


def test_a_run_that_is_calibrated_otherwise_is_named(story):
    made = Calibration.read(story.run)
    made.model_copy(update={"temperature": made.temperature * 2}).write(story.run)
    assert any("calibration.temperature" in line for line in differs(story))


def test_a_case_whose_training_images_are_gone_says_so(story):
    shutil.rmtree(story.case.parent / "split")
    assert any("the training images are not at hand" in line for line in differs(story))
    done("report", story.case, "-o", story.page)
    text = story.page.read_text(encoding="utf-8")
    assert "No nearest examples: the training images are not at hand" in text
    holds(story)


def test_what_cannot_be_checked_is_one_line(story, page, tmp_path):
    assert "is a case, not a run" in refused(
        "report", story.case, "-o", story.page, "--baseline", story.run
    )
    assert "is not a case" in refused("report", story.run, "-o", story.page, "--run", story.run)
    other = Case.create(tmp_path / "other")
    line = refused("verify", story.page, "--case", other.folder)
    assert f"is of the case {Case.open(story.case).id}" in line
    assert "no such file" in refused("verify", tmp_path / "no.html", "--case", story.case)
    assert "no such file" in refused("verify", story.page, "--case", tmp_path)
    (tmp_path / "page.html").write_text("<html>")
    assert "is not an evidence report" in refused(
        "verify", tmp_path / "page.html", "--case", story.case
    )
    assert "exists and is not what this command writes" in refused(
        "report", story.case, "-o", tmp_path / "page.html"
    )
    story.run.rename(tmp_path / "elsewhere")
    line = refused("verify", story.page, "--case", story.case)
    assert "name the run of the case with --run" in line


def test_another_run_is_refused(story, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(story.run, other)
    for path in (other / "run.json", *other.glob("checkpoints/*/checkpoint.json")):
        text = path.read_text()
        digest = Calibration.read(story.run).provenance.weights_digest
        path.write_text(text.replace(digest, "0" * 64))
    (other / "model.onnx").unlink(missing_ok=True)
    line = refused("report", story.case, "-o", story.page, "--run", other)
    assert "is no run of this case" in line or "name the run of the case with --run" in line


def test_a_clock_that_went_backwards_is_on_the_page_and_no_difference(story, monkeypatch):
    from owdfa.case import journal

    class Early(journal.datetime):
        @classmethod
        def now(cls, zone):
            return cls(2020, 1, 1, tzinfo=zone)

    monkeypatch.setattr(journal, "datetime", Early)
    Case.open(story.case).record("noted", {})
    done("report", story.case, "-o", story.page)
    assert "the clock went backwards" in story.page.read_text(encoding="utf-8")
    found = verify(story.page, story.case)
    assert found.differences == []
    assert any("the clock went backwards" in note for note in found.notes)
