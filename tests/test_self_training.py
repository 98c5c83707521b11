"""Confident predictions of one training are labels of the next; hidden labels stay out of it."""

import json

import numpy as np
import pytest
import torch

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.evaluation import evaluate
from owdfa.training.self_training import add_pseudo_labels
from tiny_data import SIDE, TINY, make_data

SURVIVING = [each for each in TINY if not each.startswith("stages")]
CPL = [*SURVIVING, "method.name=cpl", "method.cells=1", "classes=4", "data.sampling=alternating"]
ROUNDS = """
pseudo_label_confidence = 0.3
[[stages]]
name = "labelled"
method = { name = "supervised" }
[[stages]]
name = "all"
[[stages]]
name = "round-1"
settings = { pseudo_label_confidence = 0.4 }
"""


def rounds(tmp_path, *more):
    config = tmp_path / "rounds.toml"
    config.write_text(ROUNDS)
    return load_settings(None, config, [*CPL, "epochs=1", *more])


def weights(run):
    return checkpoint.read_weights(run.checkpoint)


def counts(run):
    lines = map(json.loads, (run.folder / "log.jsonl").read_text().splitlines())
    return [line.get("pseudo_labels") for line in lines if line["kind"] == "epoch"]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A data set, and a run of CPL on it."""
    folder = tmp_path_factory.mktemp("earlier")
    data = make_data(folder)
    settings = load_settings("cpl", None, [*CPL, "stages=[]"])
    return data, train(data.split, folder / "run", settings=settings)


def test_confident_predictions_become_labels_of_unlabelled_images(earlier):
    data, run = earlier
    rows, store = Split.read(data.split).training_rows(), Store.open(data.store)
    chosen = [*CPL, "stages=[]", "pseudo_label_confidence=0.5"]
    settings = load_settings("cpl", None, chosen).with_weights(run.folder)
    found = add_pseudo_labels(rows, settings, store, 4)

    method = run.method()
    view = PlainView(SIDE, method.backbone.mean, method.backbone.std)
    probabilities = evaluate(method, store, rows.ids, view, settings).probabilities
    expected = np.where(probabilities.max(axis=1) >= 0.5, probabilities.argmax(axis=1), -1)
    expected = np.where(rows.labels >= 0, rows.labels, expected)
    assert found.labels.tolist() == expected.tolist()
    assert rows.num_labelled < found.num_labelled
    assert found.ids == rows.ids


def test_rounds_are_stages_and_are_logged(tmp_path):
    data = make_data(tmp_path)
    run = train(data.split, tmp_path / "run", settings=rounds(tmp_path))
    stages = {each.name: Run.open(each) for each in (tmp_path / "run" / "stages").iterdir()}
    assert {name: each.settings.method.name for name, each in stages.items()} == {
        "labelled": "supervised",
        "all": "cpl",
        "round-1": "cpl",
    }
    assert counts(stages["labelled"]) == counts(stages["all"]) == [None]
    (first,), (second,) = counts(stages["round-1"]), counts(run)
    assert 0 <= first <= 26
    assert 0 <= second <= 26
    assert stages["all"].settings.pseudo_label_confidence is None


def test_stopped_between_two_rounds_it_ends_with_the_same_bits(tmp_path):
    data, settings = make_data(tmp_path), rounds(tmp_path)
    unbroken = train(data.split, tmp_path / "unbroken", settings=settings)
    stopped, before = tmp_path / "stopped", None
    for stage in settings.stages:  # as a run does that is killed after its stages
        each = settings.stage(stage)
        each = each if before is None else each.with_weights(before)
        before = train(data.split, stopped / "stages" / stage.name, settings=each).folder
    resumed = train(data.split, stopped, settings=settings, resume=True)
    first, second = weights(unbroken), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_hidden_labels_decide_nothing(tmp_path):
    found = []
    for name, relabel in (("one", None), ("other", {"warp": "paint", "swap": "warp"})):
        (tmp_path / name).mkdir()
        data = make_data(tmp_path / name, relabel=relabel)
        settings = rounds(tmp_path / name)
        found.append(weights(train(data.split, tmp_path / name / "run", settings=settings)))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_pseudo_labels_of_no_run_are_refused_before_training(tmp_path):
    data = make_data(tmp_path)
    chosen = [*CPL, "stages=[]", "pseudo_label_confidence=0.9"]
    with pytest.raises(UserError, match=r"earlier run; put a stage before, or .* --weights"):
        train(data.split, tmp_path / "run", settings=load_settings("cpl", None, chosen))
    assert not (tmp_path / "run" / "run.json").exists()


def test_pseudo_labels_need_the_number_of_classes(tmp_path):
    data = make_data(tmp_path)
    settings = rounds(tmp_path, "classes=auto")
    with pytest.raises(UserError, match=r"give the number of all classes with --classes"):
        train(data.split, tmp_path / "run", settings=settings)


def test_predictions_of_more_classes_are_no_labels(earlier, tmp_path):
    data, run = earlier
    chosen = [*CPL, "stages=[]", "pseudo_label_confidence=0.5", "classes=3"]
    settings = load_settings("cpl", None, chosen).with_weights(run.folder)
    with pytest.raises(
        UserError, match=r"predicts 4 classes.* of 3; train both with one --classes"
    ):
        train(data.split, tmp_path / "run", settings=settings)


@pytest.mark.parametrize("confidence", ["0", "1.5", "high"])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(UserError, match=r"^--set: pseudo_label_confidence: "):
        load_settings("cpl", None, [f"pseudo_label_confidence={confidence}"])
