"""The report: one page, offline, whatever the names in the data are."""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.records.predictions import SCHEMA as PREDICTED
from owdfa.records.predictions import Predictions
from owdfa.stages.report import report
from owdfa.stages.report.content import gather, read_epochs
from owdfa.stages.report.curves import curves
from owdfa.stages.report.embedding import MAX_POINTS, project
from owdfa.stages.report.figures import order_confusion, palette
from owdfa.stages.report.gallery import choose_examples, describe_types, thumbnail
from owdfa.stages.report.wording import counted, percent
from report_run import HOSTILE, KNOWN, epoch_record, make_run, write

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
        "confusion", "map", "reliability", "losses", "threshold", "live", "accuracy"
    }  # fmt: skip


def test_same_run_gives_the_same_page(run, page, tmp_path):
    assert report(run, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_page_says_what_was_found_and_what_it_rests_on(run, page):
    text = unescape(page)
    scores = json.loads((run / "scores.json").read_text())
    assert "2 new types discovered beside 2 known ones" in text
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


def test_baseline_has_its_row(run, tmp_path):
    other = make_run(tmp_path / "base", types=KNOWN, method="supervised")
    page = report(run, tmp_path / "page.html", baseline=other).read_text(encoding="utf-8")
    assert page.count("<th>supervised</th>") == 2


def test_baseline_of_another_split_is_refused(run, tmp_path):
    other = make_run(tmp_path / "base", per_class=3)
    with pytest.raises(UserError, match=r"base.run\.json: belongs to another split"):
        report(run, tmp_path / "page.html", baseline=other)
    assert not (tmp_path / "page.html").exists()


def test_scores_of_other_weights_are_refused(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    scores = json.loads((run / "scores.json").read_text())
    scores["basis"]["weights_digest"] = "00" * 32
    write(run / "scores.json", scores)
    with pytest.raises(UserError, match=r"scores\.json: belongs to another set of weights"):
        report(run, tmp_path / "page.html")


def test_predictions_made_before_the_last_training_are_refused(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    note = run / "checkpoints" / "last" / "checkpoint.json"
    note.parent.mkdir(parents=True)
    write(note, {"weights": "cd" * 32})
    report(run, tmp_path / "page.html")
    write(note, {"weights": "00" * 32})
    with pytest.raises(UserError, match=r"test\.parquet: belongs to another set of weights"):
        report(run, tmp_path / "page.html")


def test_without_truth_the_discovered_types_come_from_the_unlabelled_images(tmp_path):
    run = make_run(tmp_path / "run", labelled_novel=False, absorb=0.0)
    page = unescape(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "2 new types discovered beside 2 known ones" in page
    assert "cannot be scored" in page
    assert "In truth" not in page
    assert "Among 48 unlabelled images" in page
    assert f"<td>{DASH}</td>" in page  # novel scores


def test_with_nothing_new_anywhere_the_test_images_are_shown(tmp_path):
    run = make_run(tmp_path / "run", novel=[], per_class=4)
    page = unescape(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "No new type discovered beside 2 known ones" in page
    assert "Among 8 test images" in page
    assert "In truth" not in page


def test_embeddings_are_optional(tmp_path):
    run = make_run(tmp_path / "run", per_class=3)
    path = run / "predictions" / "test.parquet"
    predictions = Predictions.read(path)
    column = PREDICTED.get_field_index("embedding")
    nothing = pa.nulls(len(predictions.table), PREDICTED.field(column).type)
    table = predictions.table.set_column(column, PREDICTED.field(column), nothing)
    Predictions(table, predictions.basis).write(path)
    tags = Tags(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "map" not in _plots(tags)


@pytest.mark.parametrize(
    "content", ["[]", '{"schema": "owdfa/run/9"}', '{"schema": "owdfa/run/1"}']
)
def test_what_is_no_run_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json: (is not a run|the run has no split)"):
        report(tmp_path, tmp_path / "page.html")


def test_missing_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"run\.json: no such file"):
        report(tmp_path / "nothing", tmp_path / "page.html")


def test_progress_ends_complete(run, tmp_path):
    seen = []
    report(run, tmp_path / "page.html", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_torn_last_line_and_repeated_epochs_of_a_log(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"kind":"epoch","epoch":1,"loss":5}\n{"kind":"epoch","epoch":0,"loss":9}\n'
                   '{"kind":"epoch","epoch":1,"loss":4}\n{"kind":"ep')  # fmt: skip
    assert [(e["epoch"], e["loss"]) for e in read_epochs(log)] == [(0, 9), (1, 4)]
    log.write_text('{"kind":"ep\n{"kind":"epoch","epoch":0}\n')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        read_epochs(log)
    assert read_epochs(tmp_path / "none.jsonl") == []


def test_confusion_keeps_every_count_and_puts_matches_on_the_diagonal():
    facts = [("b", True, "n2"), ("a", False, "a"), ("c", True, None), ("d", True, "n1")]
    per_class = [{"class": c, "novel": n, "matched_to": m} for c, n, m in facts]
    counts = np.arange(16).reshape(4, 4)
    table = {
        "rows": ["b", "a", "c", "d"],
        "columns": ["a", "n1", "n2", "n3"],
        "counts": counts.tolist(),
    }
    ordered = order_confusion(SimpleNamespace(per_class=per_class, confusion=table))
    assert ordered.rows == ["a", "b", "c", "d"]
    assert ordered.columns == ["a", "n2", "n1", "n3"]
    assert ordered.num_known_rows == 1
    for i, row in enumerate(ordered.rows):
        for j, column in enumerate(ordered.columns):
            there = counts[table["rows"].index(row), table["columns"].index(column)]
            assert ordered.counts[i, j] == there


def test_curves_show_what_is_logged():
    assert curves([], 4) == []
    supervised = [{"kind": "epoch", "epoch": 0, "loss": 1.0, "ce": 1.0, "labelled_accuracy": 0.5}]
    assert [figure.id for figure in curves(supervised, 4)] == ["losses", "accuracy"]
    names = [[trace.name for trace in f.plot.data] for f in curves([epoch_record(0, 3, 5)], 4)]
    assert names == [["loss", "ce", "r", "acr", "ccr"], ["novel threshold"], ["num live"],
                     ["labelled accuracy"]]  # fmt: skip


def test_types_agree_with_counts_by_hand(run):
    evidence = gather(run)
    entries = describe_types(evidence, Store.open(evidence.run["store"]))
    predicted = evidence.shown.table["prediction"].to_pylist()
    assert {e.name: e.num_images for e in entries} == dict(Counter(predicted))
    assert [e.novel for e in entries] == sorted((e.novel for e in entries), reverse=True)
    vectors = np.array(evidence.shown.table["embedding"].to_pylist())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    means = {n: vectors[[p == n for p in predicted]].mean(axis=0) for n in set(predicted)}
    for entry in entries:
        own = [p == entry.name for p in predicted]
        assert entry.confidence == pytest.approx(evidence.confidence[own].mean())
        cosine = {
            name: means[name] @ means[entry.name]
            / np.linalg.norm(means[name]) / np.linalg.norm(means[entry.name])
            for name in KNOWN if name != entry.name
        }  # fmt: skip
        assert entry.nearest == max(cosine, key=cosine.get)
        assert entry.similarity == pytest.approx(cosine[entry.nearest], abs=1e-5)
        true = Counter(t for t, mine in zip(evidence.truth, own, strict=True) if mine)
        assert true[entry.truth] == max(true.values())
        assert entry.purity == pytest.approx(max(true.values()) / sum(own))
        assert {e.id for e in entry.examples} <= {
            i for i, mine in zip(evidence.ids, own, strict=True) if mine
        }


def test_examples_are_the_surest_and_the_least_sure():
    confidence = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.8])
    assert choose_examples(confidence, 4, 2).tolist() == [1, 5, 4, 2]
    assert choose_examples(confidence, 4, 0).tolist() == [1, 5, 3, 0]
    assert choose_examples(confidence, 8, 2).tolist() == [1, 5, 3, 0, 4, 2]


def test_thumbnail_is_a_small_jpeg_of_the_image():
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    head, data = thumbnail(pixels, 96).split(",")
    assert head == "data:image/jpeg;base64"
    image = Image.open(BytesIO(b64decode(data)))
    assert (image.format, image.size) == ("JPEG", (96, 96))
    assert image.getpixel((10, 48))[0] < 20 < 235 < image.getpixel((85, 48))[0]


def test_map_keeps_clusters_apart_and_is_repeatable():
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8) * 10
    label = np.arange(60) % 3
    directions = centres[label] + rng.normal(size=(60, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    chart = project(directions)
    assert chart.rows.tolist() == list(range(60))
    distance = np.linalg.norm(chart.places[:, None] - chart.places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(axis=1)] == label).all()
    np.testing.assert_array_equal(chart.places, project(directions).places)


def test_map_of_too_few_or_equal_images_is_none():
    assert project(np.eye(4)) is None
    assert project(np.ones((9, 4))) is None
    assert project(np.arange(9.0)[:, None]) is None


def test_map_is_capped(monkeypatch):
    monkeypatch.setattr("owdfa.stages.report.embedding.MAX_POINTS", 20)
    chart = project(np.random.default_rng(0).normal(size=(50, 4)))
    assert MAX_POINTS == 1500
    assert len(set(chart.rows.tolist())) == 20
    assert chart.rows.tolist() == sorted(chart.rows.tolist())


def test_colours_are_distinct():
    assert len(set(palette(60))) == 60
    assert palette(0) == []


def test_numbers_in_words():
    assert counted(1, "type") == "1 type"
    assert counted(0, "type") == "0 types"
    assert counted(12345, "image") == "12,345 images"
    assert percent(0.88349) == "88.3"
    assert percent(None) == DASH
