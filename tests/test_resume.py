"""A run that was killed and resumed is bit-identical with one that was not."""

import json
import shutil

import pytest

from killing import RUN, Moment, train_until
from owdfa.errors import UserError
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.train import train
from tiny_data import CENTRES


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("unbroken") / "run"
    train(data.split, output, settings=load_settings(None, None, RUN))
    return results(output)


def results(output):
    """Everything that must not depend on how often a run was stopped."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    facts = json.loads((output / "run.json").read_text())
    for name in ("environment", "commit"):  # a checkout may be edited meanwhile
        facts["provenance"].pop(name)
    made = predict(output, "split:test", output / "predictions.parquet")
    folder = output / "checkpoints"
    last, left = folder / "last", sorted(path.name for path in folder.iterdir())
    names = ("weights.safetensors", "checkpoint.json")
    files = [(folder / place / name).read_bytes() for place in left for name in names]
    moments = checkpoint.read_state(last)["optimizer"]["state"]
    moments = {key: {n: v.tolist() for n, v in value.items()} for key, value in moments.items()}
    return lines, facts, made.table, files, left, moments


def finish(data, output, overrides=RUN):
    train(data.split, output, settings=load_settings(None, None, overrides), resume=True)
    return results(output)


@pytest.mark.parametrize("event", range(1, 65, 4))
def test_killed_between_any_two_operations_on_files(data, unbroken, tmp_path, event):
    assert train_until(data.split, tmp_path / "run", Moment(event=event)) == -9
    assert finish(data, tmp_path / "run") == unbroken


@pytest.mark.parametrize("step", [2, 6])
def test_killed_in_the_middle_of_an_epoch(data, unbroken, tmp_path, step):
    assert train_until(data.split, tmp_path / "run", Moment(step=step)) == -9
    assert finish(data, tmp_path / "run") == unbroken


@pytest.mark.parametrize("half", [0, 3])
def test_killed_while_a_checkpoint_is_half_written(data, unbroken, tmp_path, half):
    assert train_until(data.split, tmp_path / "run", Moment(half=half)) == -9
    assert finish(data, tmp_path / "run") == unbroken


def test_killed_again_and_again(data, unbroken, tmp_path):
    codes = [
        train_until(data.split, tmp_path / "run", Moment(event=event)) for event in (10, 20, 15, 25)
    ]
    assert codes.count(-9) >= 3
    assert finish(data, tmp_path / "run") == unbroken


def test_a_damaged_checkpoint_is_not_resumed(data, tmp_path):
    assert train_until(data.split, tmp_path / "run", Moment(step=5)) == -9
    state = tmp_path / "run" / "checkpoints" / "last" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"state\.pt: is damaged"):
        finish(data, tmp_path / "run")


@pytest.fixture(scope="module", params=["last", "validation"])
def fitted(request, data, tmp_path_factory):
    """Settings of a run whose method is fitted at its end, and what an unbroken one leaves."""
    output = tmp_path_factory.mktemp("fitted") / "run"
    overrides = [*CENTRES, f"selection={request.param}"]
    return overrides, finish(data, output, overrides)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_before_or_after_the_method_is_fitted(data, fitted, tmp_path, when):
    overrides, expected = fitted
    assert train_until(data.split, tmp_path / "run", Moment(fit=when), overrides) == -9
    assert finish(data, tmp_path / "run", overrides) == expected


def test_killed_while_a_fitted_checkpoint_is_written(data, fitted, tmp_path):
    """It is never fitted twice, wherever between the fit and the end of the run it is killed."""
    overrides, expected = fitted
    trained, output, code = tmp_path / "trained", tmp_path / "run", -9
    assert train_until(data.split, trained, Moment(fit="before"), overrides) == -9
    events = iter(range(20, 100, 3))
    while code == -9:
        shutil.copytree(trained, output)
        code = train_until(data.split, output, Moment(event=next(events)), overrides)
        assert finish(data, output, overrides) == expected
        shutil.rmtree(output)
    assert next(events) > 40
