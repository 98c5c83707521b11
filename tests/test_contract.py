"""A training gives a method what it declares, and no more."""

import json

import numpy as np
import pytest
import torch

from outside.centres import Centres
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.methods.base import build_method, method_type
from owdfa.methods.supervised import SupervisedSettings
from owdfa.records.split import Split
from owdfa.records.training import UNLABELLED, EpochEnd, Progress
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages import train as stage
from owdfa.stages.predict import predict
from owdfa.stages.train import train
from owdfa.training.evaluation import evaluate
from small_networks import backbone
from tiny_data import CENTRES, TINY


def settings(*overrides, base=CENTRES):
    return load_settings(None, None, [*base, *overrides])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train(data.split, tmp_path_factory.mktemp("centres") / "run", settings=settings())


@pytest.mark.parametrize("views", [("strong",), ("strong", "strong", "weak")])
def test_a_method_is_given_the_views_that_it_declares(data, tmp_path, monkeypatch, views):
    seen, whole = [], Centres.objective

    def watch(method, given, labels, progress):
        seen.append((len(given), progress))
        assert len({each.embedding.sum().item() for each in given}) == len(views)
        return whole(method, given[:1], labels, progress)

    monkeypatch.setattr(Centres, "objective", watch)
    monkeypatch.setattr(Centres, "views", views)
    train(data.split, tmp_path / "run", settings=settings())
    assert {num for num, _ in seen} == {len(views)}
    assert {progress for _, progress in seen} == {Progress(0, 2), Progress(1, 2)}


def test_a_method_that_needs_the_number_of_classes_is_refused_without_it(data, tmp_path):
    with pytest.raises(UserError) as error:
        train(data.split, tmp_path / "run", settings=settings("classes=auto"))
    assert str(error.value) == (
        "method outside.centres: needs the number of classes, known and novel;"
        " give it with --classes N, or have it estimated with --classes auto:gcd"
    )
    assert not any(path.is_file() for path in (tmp_path / "run").rglob("*"))
    with pytest.raises(UserError, match="1 classes are fewer than the 2 known ones"):
        train(data.split, tmp_path / "run", settings=settings("classes=1"))


def test_by_default_nothing_happens_between_epochs_and_at_the_end():
    method = build_method("supervised", backbone(), 3, None, SupervisedSettings())
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert method.end_epoch(Progress(0, 2)) == EpochEnd({}, ())
    assert method.finish(torch.rand(4, 6), torch.tensor([0, 1, 2, UNLABELLED])) is None
    assert all(torch.equal(before[name], each) for name, each in method.state_dict().items())


def test_a_method_that_fits_nothing_costs_no_pass_over_the_images(data, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(stage, "fit_inputs", refuse)
    train(data.split, tmp_path / "run", settings=settings("epochs=1", "method.name=cal", base=TINY))


def test_a_supervised_method_is_given_no_unlabelled_image(data, tmp_path):
    assert not method_type("supervised").uses_unlabelled
    rows = Split.read(data.split).training_rows()
    labelled = rows.only_labelled()
    assert len(labelled.ids) == (rows.labels >= 0).sum() < len(rows.ids)
    assert (
        dict(zip(labelled.ids, labelled.labels, strict=True)).items()
        <= dict(zip(rows.ids, rows.labels, strict=True)).items()
    )
    seen = []
    chosen = settings("method.name=supervised", "epochs=1", base=TINY)
    train(data.split, tmp_path / "run", settings=chosen, on_progress=lambda *now: seen.append(now))
    full, rest = divmod(len(labelled.ids), chosen.data.batch_size)
    assert seen[-1][1] == full + (rest > 1)


def test_it_is_fitted_once_after_the_last_epoch_to_all_training_images(data, tmp_path, monkeypatch):
    calls, steps = [], []
    monkeypatch.setattr(Centres, "finish", lambda *given: calls.append((len(steps), *given)))
    run = train(
        data.split, tmp_path / "run", settings=settings(), on_progress=lambda *now: steps.append(0)
    )
    ((when, method, embeddings, labels),) = calls
    assert when == len(steps) > 0
    rows, store = Split.read(data.split).training_rows(), Store.open(data.store)
    assert labels.tolist() == rows.labels.tolist()
    assert UNLABELLED in labels
    view = PlainView(16, method.backbone.mean, method.backbone.std)
    expected = evaluate(run.method(), store, rows.ids, view, run.settings).embedding
    assert (embeddings.dtype, embeddings.shape) == (torch.float32, (len(rows.ids), 8))
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)


def test_what_was_fitted_is_in_the_checkpoint_and_predicts(data, run, tmp_path):
    weights = checkpoint.read_weights(run.checkpoint)
    assert weights["fits"] == 1
    assert checkpoint.read_note(run.checkpoint).fitted
    rows, store = Split.read(data.split).training_rows(), Store.open(data.store)
    method = run.method()
    view = PlainView(16, method.backbone.mean, method.backbone.std)
    embeddings = evaluate(method, store, rows.ids, view, run.settings).embedding
    means = [embeddings[rows.labels == known].mean(axis=0) for known in (0, 1)]
    np.testing.assert_allclose(weights["centres"][:2], np.stack(means), rtol=1e-4, atol=1e-5)

    made = predict(run.folder, "split:test", tmp_path / "predictions.parquet").table
    ids = made["id"].to_pylist()
    embeddings = evaluate(method, store, ids, view, run.settings).embedding
    distances = ((embeddings[:, None] - weights["centres"].numpy()) ** 2).sum(axis=2)
    names = [*run.known, "novel-01", "novel-02"]
    nearest = [names[place] for place in distances.argmin(axis=1)]
    assert made["prediction"].to_pylist() == nearest


def test_the_selected_checkpoint_is_what_is_fitted(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("selection=validation", "epochs=3"))
    folder = run.folder / "checkpoints"
    fitted, last = (checkpoint.read_weights(folder / name) for name in ("validation", "last"))
    assert (fitted["fits"], last["fits"]) == (1, 0)
    assert checkpoint.read_note(folder / "validation").epochs == run.metadata.selected_epochs
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    scores = [line["validation_accuracy"] for line in lines if line["kind"] == "epoch"]
    assert run.metadata.selected_epochs == int(np.argmax(scores)) + 1


def test_without_an_epoch_a_method_is_only_fitted(data, tmp_path):
    """Frozen features: nothing is trained, and resuming the run changes nothing."""
    run = train(data.split, tmp_path / "run", settings=settings("epochs=0"))
    assert run.metadata.complete
    assert checkpoint.read_weights(run.checkpoint)["fits"] == 1
    again = train(data.split, run.folder, settings=settings("epochs=0"), resume=True)
    assert again.metadata == run.metadata
