"""The parts of the report: figures, map, gallery, words."""

from base64 import b64decode
from collections import Counter
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from owdfa.errors import UserError
from owdfa.pages import palette, thumbnail
from owdfa.stages.report.content import gather
from owdfa.stages.report.curves import curves
from owdfa.stages.report.embedding import MAX_POINTS, project
from owdfa.stages.report.figures import densest, order_confusion, tippett
from owdfa.stages.report.gallery import choose_examples, describe_types
from owdfa.stages.report.log import RunLog, read_log
from owdfa.stages.report.ratios import ratio
from owdfa.stages.report.wording import counted, headline, percent
from report_run import KNOWN, epoch_record, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "first")


def test_torn_last_line_and_repeated_epochs_of_a_log(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"kind":"epoch","epoch":1,"loss":5}\n{"kind":"epoch","epoch":0,"loss":9}\n'
                   '{"kind":"epoch","epoch":1,"loss":4}\n{"kind":"ep')  # fmt: skip
    assert [(e["epoch"], e["loss"]) for e in read_log(log).epochs] == [(0, 9), (1, 4)]
    log.write_text('{"kind":"ep\n{"kind":"epoch","epoch":0}\n')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        read_log(log)
    assert read_log(tmp_path / "none.jsonl") == RunLog([], ())


def test_confusion_keeps_every_count_and_puts_matches_on_the_diagonal():
    facts = [("b", True, "n2"), ("a", False, "a"), ("c", True, None), ("d", True, "n1")]
    per_class = [{"class": c, "novel": n, "matched_to": m} for c, n, m in facts]
    counts = np.arange(16).reshape(4, 4)
    table = {
        "rows": ["b", "a", "c", "d"],
        "columns": ["a", "n1", "n2", "n3"],
        "counts": counts.tolist(),
    }
    ordered = order_confusion(SimpleNamespace(per_class=per_class, confusion=table), ["a"])
    assert ordered.rows == ["a", "b", "c", "d"]
    assert ordered.columns == ["a", "n2", "n1", "n3"]
    assert ordered.num_known_rows == 1
    assert ordered.known_columns == [True, False, False, False]
    for i, row in enumerate(ordered.rows):
        for j, column in enumerate(ordered.columns):
            there = counts[table["rows"].index(row), table["columns"].index(column)]
            assert ordered.counts[i, j] == there


def test_a_line_of_ratios_is_the_share_of_images_with_that_or_more():
    values = np.array([-9.0, -1.0, 0.5, 2.0])
    evidence = SimpleNamespace(
        log_ratio=lambda _: values, judged=True, names=["a", "b"], truth=["a", "a", "a", "c"],
        known_index=np.array([0, 0, 0, 1]),
    )  # fmt: skip
    right, wrong = tippett(evidence).plot.data
    assert right.x == (-6, -6, -1, 0.5, 6)
    assert right.y == pytest.approx((1, 1, 2 / 3, 1 / 3, 0), abs=1e-4)
    assert (wrong.x, wrong.y) == ((-6, 2, 6), (1, 1, 0))


def test_ratios_are_written_in_two_digits():
    assert (ratio(2.34), ratio(0)) == ("220", "1")
    assert [ratio(x) for x in (-1, 0.2, -0.01, 9, -7)] == [
        "1/10", "1.6", "1", "over 1,000,000", "under 1/1,000,000",
    ]  # fmt: skip


def test_curves_show_what_is_logged():
    assert curves(RunLog([], ()), 4) == []
    supervised = [{"kind": "epoch", "epoch": 0, "loss": 1.0, "ce": 1.0, "labelled_accuracy": 0.5}]
    assert [figure.id for figure in curves(RunLog(supervised, ("loss", "ce")), 4)] == [
        "losses",
        "accuracy",
    ]
    log = RunLog([epoch_record(0, 3, 5)], ("epoch", "step", "loss", "ce", "r", "acr", "ccr"))
    names = [[trace.name for trace in f.plot.data] for f in curves(log, 4)]
    assert names == [["loss", "ce", "r", "acr", "ccr"], ["num active"],
                     ["labelled accuracy"], ["novel threshold"]]  # fmt: skip


def test_types_agree_with_counts_by_hand(run):
    evidence = gather(run)
    entries = describe_types(evidence, evidence.store)
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


def test_label_stands_on_the_densest_of_several_clusters():
    far = np.stack([np.arange(5) * 9.0, np.full(5, 100.0)], axis=1)
    near = np.stack([np.arange(6) * 0.1, np.zeros(6)], axis=1)
    x, y = densest(np.concatenate([far, near]))
    assert y == 0
    assert 0 < x < 0.5
    assert densest(far[:1]).tolist() == [0.0, 100.0]


@pytest.mark.parametrize(
    ("found", "line"),
    [(1, "1 of 2 new types discovered"), (0, "None of 2 new types discovered")],
)
def test_headline_counts_what_was_truly_found(run, found, line):
    evidence = gather(run)
    scores = replace(evidence.scores, num_novel={"true": 2, "discovered": found})
    assert headline(replace(evidence, scores=scores)).startswith(line)


def test_numbers_in_words():
    assert counted(1, "type") == "1 type"
    assert counted(0, "type") == "0 types"
    assert counted(12345, "image") == "12,345 images"
    assert percent(0.88349) == "88.3"
    assert percent(-0.003) == "\N{MINUS SIGN}0.3"
    assert percent(None) == "\N{EN DASH}"
