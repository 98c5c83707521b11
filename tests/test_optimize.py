"""The options of a fast training change the order of sums, and nothing else."""

import json

import jaxtyping
import pytest
import torch

from owdfa.backbones.base import build
from owdfa.distributed import Shard
from owdfa.errors import UserError
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Progress
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.optimize import compile_features, to_channels_last
from small_networks import backbone, batch, losses
from tiny_data import TINY

LABELS = [0, 1, -1, -1, 2, -1]


def trained(data, output, *overrides):
    chosen = load_settings(None, None, [*TINY, "method.name=cal", "epochs=2", *overrides])
    return train(data.split, output, settings=chosen)


def losses_of(run):
    lines = (run.folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def cal(made=None):
    torch.manual_seed(0)
    return CAL(made or backbone(), 3, None, CALSettings(dropout=0.0))


def test_channels_last_weights_are_the_same_and_are_saved(tmp_path):
    plain, arranged = cal(), cal()
    to_channels_last(arranged)
    assert arranged.backbone.network[0].weight.is_contiguous(memory_format=torch.channels_last)
    checkpoint.write(tmp_path / "last", checkpoint.Note(1, 3), arranged.state_dict())
    for name, tensor in checkpoint.read_weights(tmp_path / "last").items():
        assert torch.equal(tensor, plain.state_dict()[name])


@pytest.fixture
def untyped():
    """Shapes are not checked: the checks of tests, which users do not have, are not traced."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.slow
def test_features_are_traced_once_as_one_graph_and_are_the_same(untyped):
    compiled, eager = cal(build("tiny/trace8w16")), cal(build("tiny/trace8w16"))
    eager.load_state_dict(compiled.state_dict())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_features(compiled, len(LABELS), 32, backend="aot_eager")
    for epoch in range(2):  # pruned in between: the number of classes is no part of the graph
        whole = batch(LABELS, seed=epoch, size=32)
        found, expected = (losses(each, whole, Progress(epoch, 2)) for each in (compiled, eager))
        pairs = [(found.total, expected.total), (found.logits, expected.logits)]
        found.total.backward()
        expected.total.backward()
        parameters = zip(compiled.parameters(), eager.parameters(), strict=True)
        pairs += [(one.grad, other.grad) for one, other in parameters if one.requires_grad]
        pairs += zip(compiled.state_dict().values(), eager.state_dict().values(), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        for each in (compiled, eager):
            each.usage[3:] = torch.arange(27) ** 3
            each.end_epoch(Progress(epoch, 2))
    assert compiled.num_active < 30
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.fixture
def calls(monkeypatch):
    """Stand in for the compiler, which takes minutes: what it compiled counts its calls."""
    made = []

    def compile_(function, **options):
        assert options["dynamic"] is False

        def compiled(images):
            made.append(len(images))
            return function(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    return made


def test_full_batches_of_training_are_compiled_and_nothing_else(calls):
    method, plain = cal(), cal()
    names = list(method.state_dict())
    compile_features(method, len(LABELS), 16)
    assert list(method.state_dict()) == names
    assert method.training
    whole, part = batch(LABELS), batch(LABELS[:4])
    progress = Progress(0, 2)
    totals = [losses(each, whole, progress).total for each in (method, plain)]
    assert torch.equal(*totals)
    assert calls == [6, 6]
    losses(method, part, progress)
    method.eval()
    method(whole.views[0])
    assert calls == [6, 6]


def test_a_compiled_run_is_a_run_like_any_other(data, tmp_path, calls):
    plain = trained(data, tmp_path / "plain")
    compiled = trained(data, tmp_path / "compiled", "compile=true", "deterministic=false")
    assert calls
    assert set(calls) == {8}
    assert losses_of(compiled) == pytest.approx(losses_of(plain), rel=1e-4)


def test_several_processes_do_not_compile(monkeypatch):
    monkeypatch.setattr("owdfa.training.optimize.get_shard", lambda: Shard(0, 2))
    with pytest.raises(UserError, match="compile: one process"):
        compile_features(cal(), 4, 16)
