"""The report: one page, offline, whatever the names in the data are."""

import hashlib
import json
import re
import sys
from base64 import b64encode
from html import unescape
from html.parser import HTMLParser
from types import ModuleType

import pyarrow as pa
import pytest

from owdfa.errors import UserError
from owdfa.records.estimate import Curve, Estimate, RunEstimate
from owdfa.records.predictions import SCHEMA as PREDICTED
from owdfa.records.predictions import Predictions
from owdfa.records.scores import Scores
from owdfa.records.types_found import KnownOut, TypesFound
from owdfa.stages.report import report
from owdfa.stages.report.ratios import sentences
from report_run import HOSTILE, KNOWN, make_run, write

DASH = "\N{EN DASH}"


class Tags(HTMLParser):
    """Elements of a page with their attributes, and the text inside scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self._script = [], [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)
            self.scripts.append((self._script, ""))

    def handle_endtag(self, tag):
        self._script = None if tag == "script" else self._script

    def handle_data(self, data):
        if self._script is not None:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "first")


@pytest.fixture(scope="module")
def page(run):
    return report(run, run.parent / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tags(page):
    return Tags(page)


def _plots(tags):
    return {
        attributes["id"].removesuffix("-data"): json.loads(text)
        for attributes, text in tags.scripts
        if attributes.get("type") == "application/json"
    }


def test_page_loads_nothing_from_outside(tags):
    for tag, attributes in tags.tags:
        assert tag not in {"link", "iframe", "object", "base", "form"}
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)


def test_policy_allows_exactly_the_scripts_of_the_page(tags):
    policies = [a["content"] for t, a in tags.tags if a.get("http-equiv")]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    code = [text for attributes, text in tags.scripts if "type" not in attributes]
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert re.findall(r"'sha256-([^']+)'", policies[0]) == hashes
    assert len(hashes) == 2


def test_hostile_names_stay_text(page, tags):
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page
    assert HOSTILE in unescape(page)
    assert "i" not in {tag for tag, _ in tags.tags}  # the ids hold an <i>


def test_plots_show_hostile_names_without_markup(tags):
    plots = _plots(tags)
    text = json.dumps(plots, ensure_ascii=False)
    assert "<script" not in text
    assert "<i>" not in text
    assert "&lt;script" in text


def test_plots_have_a_place_each(tags):
    places = {a["id"] for _, a in tags.tags if a.get("class") == "plot"}
    assert set(_plots(tags)) == places
    assert places == {
        "confusion", "map", "reliability", "losses", "logged-0", "active", "accuracy"
    }  # fmt: skip


def test_same_run_gives_the_same_page(run, page, tmp_path):
    assert report(run, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_page_says_what_was_found_and_what_it_rests_on(run, page):
    text = unescape(page)
    scores = json.loads((run / "scores.json").read_text())
    assert "2 of 2 new types discovered beside 2 known ones" in text
    assert f"{100 * scores['novel_given_to_known']:.1f} % of the images of new types" in text
    split = json.loads((run.parent / "first-split" / "split.json").read_text())
    for fact in (split["digest"], "cd" * 32, "0123abc", "ccr_weight = 0.2 # <b>", "<Linux>"):
        assert fact in text, fact
    assert 'class="oracle"' not in page


def test_oracle_is_stamped_on_title_scores_row_and_basis(tmp_path):
    run = make_run(tmp_path / "run", per_class=3, selection="oracle")
    page = report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('class="oracle"') == 5  # above the title, heading, two tables, basis
    assert 'class="stamp"' in page


def test_an_estimated_number_of_types_is_shown_with_what_it_is_from(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    note = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**note, "classes": 5}))
    curve = Curve("classes", "accuracy", (5,), (1.0,), (5,))
    made = Estimate("gcd", 5, (4, 6), (4, 6), curve, 40)
    RunEstimate(embedding="runs/b", weights_digest=None, split_digest="0", estimate=made).write(run)
    page = report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "5 classes estimated by gcd (interval 4-6) from the embedding of runs/b" in page


FOUND = TypesFound(
    num_types=5, interval=(4, 6), novel_share=0.21, confidence=0.95,
    known_out=KnownOut(cllr=0.25, misled=0.013, known=0.9, hidden=0.8, absorbed=0.1),
)  # fmt: skip


def test_what_a_method_says_of_types_and_evidence_is_shown(tmp_path):
    run = make_run(tmp_path / "run", types_found=FOUND)
    page = report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    text = unescape(page)
    for said in (
        "are of 5 types",
        "it says 4 to 6 in nine cases of ten",
        "At least 21.0 % of its unlabelled images",
        "<td>0.25</td><td>0.34</td>",
        "<td>1.3 %</td><td>2.1 %</td>",
        "<dt>Ratio</dt>",
        '<td class="start">0.34</td><td>2.1</td>',
    ):
        assert said in text, said
    right, _ = _plots(Tags(page))["tippett"]["data"]
    assert right["name"] == "made by that type (24)"


def test_where_the_network_learnt_the_labels_the_page_bounds_nothing():
    text = " ".join(sentences(FOUND.model_copy(update={"novel_share": None})))
    assert "No bound on the share of new types" in text
    assert "too good" in text


def test_without_evidence_the_page_has_no_word_of_it(page, tags):
    assert 'id="found"' not in page
    assert "ikelihood ratio" not in page.split("<script")[0]
    assert "tippett" not in _plots(tags)


def test_baseline_has_its_row(run, tmp_path):
    other = make_run(tmp_path / "base", types=KNOWN, method="supervised")
    page = report(run, tmp_path / "page.html", beside=[other]).read_text(encoding="utf-8")
    assert page.count("<th>supervised</th>") == 2


def test_missing_predictions_and_scores_are_made_first(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", per_class=4)
    written = run / "predictions" / "test.parquet"
    kept = written.rename(tmp_path / "kept.parquet")
    (run / "scores.json").unlink()
    asked = []

    def predict(folder, images, output, *, split, store):
        asked.append((folder, images, output))
        kept.rename(output)

    stub = ModuleType("owdfa.stages.predict")  # the real one takes a network
    stub.predict = predict
    monkeypatch.setitem(sys.modules, "owdfa.stages.predict", stub)
    report(run, tmp_path / "page.html")
    assert asked == [(run, "split:test", written)]
    assert Scores.read(run / "scores.json").num_images["all"] == 16
    report(run, tmp_path / "page.html")
    assert len(asked) == 1


def test_baseline_of_another_split_is_refused(run, tmp_path):
    other = make_run(tmp_path / "base", per_class=3)
    with pytest.raises(UserError, match=r"base.run\.json: belongs to another split"):
        report(run, tmp_path / "page.html", beside=[other])
    assert not (tmp_path / "page.html").exists()


def test_scores_of_other_weights_are_refused(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    scores = json.loads((run / "scores.json").read_text())
    scores["provenance"]["weights_digest"] = "00" * 32
    write(run / "scores.json", scores)
    with pytest.raises(UserError, match=r"scores\.json: belongs to another set of weights"):
        report(run, tmp_path / "page.html")


def test_scores_of_another_precision_are_refused(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    scores = json.loads((run / "scores.json").read_text())
    scores["provenance"]["precision"] = "bf16-mixed"
    write(run / "scores.json", scores)
    with pytest.raises(UserError, match=r"scores\.json: belongs to another precision"):
        report(run, tmp_path / "page.html")


def test_predictions_made_before_the_last_training_are_refused(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    note = run / "checkpoints" / "last" / "checkpoint.json"
    note.parent.mkdir(parents=True)
    write(note, {"epochs": 3, "num_active": 5, "weights": "cd" * 32})
    report(run, tmp_path / "page.html")
    write(note, {"epochs": 3, "num_active": 5, "weights": "00" * 32})
    with pytest.raises(UserError, match=r"test\.parquet: belongs to another set of weights"):
        report(run, tmp_path / "page.html")


def test_without_truth_the_discovered_types_come_from_the_unlabelled_images(tmp_path):
    run = make_run(tmp_path / "run", labelled_novel=False, absorb=0.0)
    page = unescape(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "2 possible new types set apart beside 2 known ones" in page
    assert "cannot be scored" in page
    assert "In truth" not in page
    assert "Among 48 unlabelled images" in page
    assert f"<td>{DASH}</td>" in page  # novel scores


def test_with_nothing_new_anywhere_the_test_images_are_shown(tmp_path):
    run = make_run(tmp_path / "run", novel=[], per_class=4)
    page = unescape(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "No new type set apart beside 2 known ones" in page
    assert "Among 8 test images" in page


def test_embeddings_are_optional(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    path = run / "predictions" / "test.parquet"
    predictions = Predictions.read(path)
    column = PREDICTED.get_field_index("embedding")
    nothing = pa.nulls(len(predictions.table), PREDICTED.field(column).type)
    table = predictions.table.set_column(column, PREDICTED.field(column), nothing)
    Predictions(table, predictions.metadata).write(path)
    tags = Tags(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "map" not in _plots(tags)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is not a run"),
        ('{"schema": "owdfa/split/1"}', "is not a run"),
        ('{"schema": "owdfa/run/1"}', "holds 'owdfa/run/1', .*; train again"),
        ('{"schema": "owdfa/run/2"}', r"is damaged \(split: "),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, content, said):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=rf"run\.json: {said}"):
        report(tmp_path, tmp_path / "page.html")


def test_missing_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"run\.json: no such file"):
        report(tmp_path / "nothing", tmp_path / "page.html")


def test_progress_ends_complete(run, tmp_path):
    seen = []
    report(run, tmp_path / "page.html", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
