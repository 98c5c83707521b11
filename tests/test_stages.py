"""Trainings that come before: runs of their own, each with the backbone of the one before."""

import pytest
import torch

from killing import Moment, train_until
from owdfa.errors import UserError
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.initial_weights import initial_method
from tiny_data import TINY

FIRST = "{name='first', method={name='supervised'}, settings={epochs=2}}"
SECOND = "{name='second', method={name='outside.drift', pull=0.3}, settings={epochs=1}}"
RUN = [*TINY, "method.name=cal", "epochs=1", "log_every=1", "selection=validation"]
ONE, TWO = [*RUN, f"stages=[{FIRST}]"], [*RUN, f"stages=[{FIRST}, {SECOND}]"]


def settings(overrides):
    return load_settings(None, None, overrides)


def weights(run):
    return checkpoint.read_weights(run / "checkpoints" / "last")


def backbone_of(run):
    return {n: t for n, t in weights(run).items() if n.startswith("backbone.")}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    output, seen = tmp_path_factory.mktemp("stages") / "run", []
    train(data.split, output, settings=settings(TWO), on_progress=lambda *now: seen.append(now))
    return output, seen


def test_stages_are_trained_in_order_by_their_own_method_and_settings(unbroken):
    output, seen = unbroken
    first, second, run = (
        Run.open(output / place) for place in ("stages/first", "stages/second", "")
    )
    assert [each.metadata.provenance.method for each in (first, second, run)] == [
        "supervised",
        "outside.drift",
        "cal",
    ]
    assert [each.metadata.trained_epochs for each in (first, second, run)] == [2, 1, 1]
    assert second.settings.method.pull == 0.3
    assert [each.metadata.provenance.selection for each in (first, second, run)] == [
        "last",
        "last",
        "validation",
    ]
    assert not (second.folder / "stages").exists()
    parts = [note.split(":")[0] for _, _, note in seen if ":" in note]
    assert parts == sorted(parts)
    assert set(parts) == {"first", "second"}
    assert seen[-1][2].startswith("epoch 1/1  loss ")


def test_each_begins_with_the_backbone_of_the_one_before(data, unbroken, tmp_path):
    output, _ = unbroken
    chosen, first = settings(TWO), output / "stages" / "first"
    initial = initial_method(chosen, 2, output / "stages" / "second").state_dict()
    for name, tensor in backbone_of(output / "stages" / "second").items():
        assert torch.equal(initial[name], tensor)
    # Drift does not use its backbone: it hands on what the first one made.
    assert same(backbone_of(output / "stages" / "second"), backbone_of(first))
    by_hand = train(
        data.split,
        tmp_path / "run",
        settings=settings([*RUN, f"backbone.weights={output / 'stages' / 'second'}"]),
    )
    assert same(weights(by_hand.folder), weights(output))


def test_a_stage_is_the_run_that_its_settings_would_be(data, unbroken, tmp_path):
    output, _ = unbroken
    alone = train(
        data.split,
        tmp_path / "run",
        settings=settings([*TINY, "method.name=supervised", "epochs=2", "log_every=1"]),
    )
    assert same(weights(alone.folder), weights(output / "stages" / "first"))


@pytest.mark.parametrize("step", [0, 3, 5, 9], ids=["first", "its end", "second", "the run"])
def test_killed_inside_of_a_stage_a_run_ends_bit_identical(data, unbroken, tmp_path, step):
    output = tmp_path / "run"
    assert train_until(data.split, output, Moment(step=step), TWO) == -9
    train(data.split, output, settings=settings(TWO), resume=True)
    for place in ("stages/first", "stages/second", ""):
        assert same(weights(output / place), weights(unbroken[0] / place))


def test_a_stage_that_was_stopped_is_not_begun_again_without_a_word(data, tmp_path):
    output = tmp_path / "run"
    assert train_until(data.split, output, Moment(step=1), ONE) == -9
    with pytest.raises(UserError, match=r"stages/first: holds a run already .*--resume"):
        train(data.split, output, settings=settings(ONE))
