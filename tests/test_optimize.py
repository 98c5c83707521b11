"""The options of a fast training change the order of sums, and nothing else."""

import json

import pytest
import torch

from owdfa.distributed import Share
from owdfa.errors import UserError
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Progress
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.optimize import algorithms, arrange, compile_backbone
from small_networks import backbone, batch
from tiny_data import TINY, make_data

VIEWS = "data.views_on=device"
LABELS = [0, 1, -1, -1, 2, -1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def weights(run):
    return checkpoint.read_weights(run.checkpoint)


def trained(data, output, *overrides):
    return train(data.split, output, settings=load_settings(None, None, [*TINY, *overrides]))


def losses_of(run):
    lines = (run.folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_views_made_on_the_device_train_the_same_network(data, tmp_path):
    host = trained(data, tmp_path / "host")
    device = trained(data, tmp_path / "device", VIEWS)
    assert losses_of(device) == pytest.approx(losses_of(host), rel=1e-4)
    for name, tensor in weights(host).items():
        torch.testing.assert_close(weights(device)[name], tensor, rtol=1e-2, atol=1e-3)


def test_a_training_with_views_on_the_device_is_resumed_exactly(data, tmp_path):
    whole = trained(data, tmp_path / "whole", VIEWS)
    told = iter(range(100))

    def stop(state):
        if next(told) == 5:
            raise KeyboardInterrupt

    chosen = load_settings(None, None, [*TINY, VIEWS])
    with pytest.raises(KeyboardInterrupt):
        train(data.split, tmp_path / "cut", settings=chosen, on_progress=stop)
    assert 0 < Run.open(tmp_path / "cut").facts.trained_epochs < chosen.epochs
    cut = train(data.split, tmp_path / "cut", settings=chosen, resume=True)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(cut)[name], tensor)


def test_free_choice_of_algorithms_is_put_back():
    before = torch.backends.cudnn.benchmark
    with algorithms(same_bits=False):
        assert torch.backends.cudnn.benchmark
        assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before
    with algorithms(same_bits=True):
        assert torch.are_deterministic_algorithms_enabled()


def cal():
    torch.manual_seed(0)
    return CAL(backbone(), 3, None, CALSettings(dropout=0.0, ffe=False))


def test_channels_last_weights_are_the_same_and_are_saved(tmp_path):
    plain, arranged = cal(), cal()
    arrange(arranged)
    assert arranged.backbone.network[0].weight.is_contiguous(memory_format=torch.channels_last)
    checkpoint.write(tmp_path / "last", checkpoint.Note(1, 3), arranged.state_dict())
    for name, tensor in checkpoint.read_weights(tmp_path / "last").items():
        assert torch.equal(tensor, plain.state_dict()[name])


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
    compile_backbone(method, len(LABELS))
    assert list(method.state_dict()) == names
    whole, part = batch(LABELS), batch(LABELS[:4])
    progress = Progress(0, 2)
    assert torch.equal(method.losses(whole, progress).total, plain.losses(whole, progress).total)
    assert calls == [6, 6]
    method.losses(part, progress)
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
    monkeypatch.setattr("owdfa.training.optimize.own_share", lambda: Share(0, 2))
    with pytest.raises(UserError, match="compile: one process"):
        compile_backbone(cal(), 4)


def test_the_gpu_recipe_trains_as_the_paper_s():
    fast, paper = load_settings("gpu"), load_settings("paper")
    changed = {text.split(" ")[0] for text in fast.differences(paper)}
    assert changed == {"precision", "deterministic", "compile", "data.views_on"}
