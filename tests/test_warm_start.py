"""A warm start is a supervised run of its own, whose backbone the method begins with."""

import torch

from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.initial_weights import build_method
from tiny_data import TINY, make_data

SETTINGS = load_settings(None, None, [*TINY, "warm_start.epochs=2", "epochs=1"])


def weights(run):
    return checkpoint.read_weights(run / "checkpoints" / "last")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_the_method_begins_with_the_backbone_of_the_warm_start(tmp_path):
    data = make_data(tmp_path)
    train(data.split, tmp_path / "run", settings=SETTINGS)
    first = Run.open(tmp_path / "run" / "warm_start")
    assert first.facts.method == "supervised"
    assert first.facts.trained_epochs == 2
    begun = build_method(SETTINGS, 2, first.folder).backbone.state_dict()
    trained = weights(first.folder)
    assert all(torch.equal(begun[name], trained[f"backbone.{name}"]) for name in begun)


def test_stopped_after_its_warm_start_a_run_ends_with_the_same_bits(tmp_path):
    data = make_data(tmp_path)
    train(data.split, tmp_path / "unbroken", settings=SETTINGS)
    stopped = tmp_path / "stopped"
    train(data.split, stopped / "warm_start", settings=SETTINGS.first_stage())
    train(data.split, stopped, settings=SETTINGS, resume=True)
    assert same(weights(stopped), weights(tmp_path / "unbroken"))


def test_progress_says_which_part_it_is(tmp_path):
    data, states = make_data(tmp_path), []
    train(data.split, tmp_path / "run", settings=SETTINGS, on_progress=states.append)
    parts = [state.warm_start for state in states]
    assert parts == sorted(parts, reverse=True)
    assert {state.summary().startswith("warm start") for state in states} == {True, False}


def test_a_supervised_method_is_given_no_unlabelled_image(tmp_path):
    data = make_data(tmp_path)
    rows = Split.read(data.split).training_rows()
    labelled = rows.only_labelled()
    assert len(labelled.ids) == (rows.labels >= 0).sum() < len(rows.ids)
    assert (
        dict(zip(labelled.ids, labelled.labels, strict=True)).items()
        <= dict(zip(rows.ids, rows.labels, strict=True)).items()
    )
    states = []
    settings = load_settings(None, None, [*TINY, "method.name=supervised", "epochs=1"])
    train(data.split, tmp_path / "run", settings=settings, on_progress=states.append)
    batch = settings.data.batch_size
    full, rest = divmod(len(labelled.ids), batch)
    assert states[-1].steps == full + (rest > 1)
