"""GCD against numbers recorded from its authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.clustering import iterate
from owdfa.methods.gcd import GCD, GCDSettings
from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings
from owdfa.training.optimizer import learning_rate
from reference.recordings import Recording, arrays, cases, note, tensors
from small_networks import backbone, losses

TERMS = {"ucon": "contrastive", "scon": "supervised_contrastive"}


@pytest.mark.parametrize("recording", cases("gcd_losses"), ids=repr)
def test_losses(recording: Recording):
    case, given = recording.note, tensors(recording)
    settings = GCDSettings(
        contrastive_temperature=case["temperature"],
        supervised_weight=case["supervised_weight"],
        projection_dim=8,
    )
    method = GCD(Backbone("none", nn.Identity(), (0, 0, 0), (1, 1, 1)), 1, 2, settings).double()
    projection = given["projection"].requires_grad_()
    found = method.losses(*projection.chunk(2), given["labels"])
    found.total.backward()

    assert found.total.item() == pytest.approx(case["total"], rel=1e-9, abs=1e-9)
    for ours, theirs in TERMS.items():
        assert found.terms[ours].item() == pytest.approx(case[theirs], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(projection.grad, given["grad_projection"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recording", cases("gcd_kmeans"), ids=repr)
def test_kmeans(recording: Recording):
    given = recording.arrays
    found = iterate(given["features"], given["labels"], given["start"], 200)
    assert (found.assigned == given["assigned"]).all()
    assert found.centres == pytest.approx(given["centers"], abs=1e-12)
    assert found.inertia == pytest.approx(recording.note["inertia"], rel=1e-12)


def test_training():
    run = note("gcd_training")
    given = {name: torch.from_numpy(array) for name, array in arrays("gcd_training").items()}
    settings = GCDSettings(
        hidden_dim=run["hidden"],
        bottleneck_dim=run["bottleneck"],
        projection_dim=run["outputs"],
        supervised_weight=run["supervised_weight"],
    )
    method = GCD(backbone(), run["num_known"], run["num_classes"], settings).double()
    names = {name: official_name(name) for name, _ in method.named_parameters()}
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            parameter.copy_(given[f"init_{names[name]}"])
    sgd = {"lr": run["lr"], "momentum": run["momentum"], "weight_decay": run["weight_decay"]}
    optimizer = torch.optim.SGD(method.parameters(), **sgd)
    schedule = ScheduleSettings(name="cosine", gamma=run["lr_end"])
    seen, labels = [], torch.tensor(run["labels"])
    for epoch in range(run["epochs"]):
        progress = Progress(epoch, run["epochs"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(OptimiserSettings(name="sgd", **sgd), schedule, progress)
        for number in range(run["batches"]):
            views = tuple(given[f"b{number}v{view}"].double() for view in range(2))
            found = losses(method, Batch(views, labels, torch.arange(len(labels))), progress)
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            seen.append(found.total.item())
    assert seen == pytest.approx(run["losses"], rel=1e-7)
    for name, parameter in method.named_parameters():
        expected = given[f"final_{names[name]}"]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-7)


def official_name(name):
    """Name in the recording of a parameter of ours."""
    if name.startswith("backbone."):
        return "base.conv." + name.split(".", 2)[2]
    name = name.replace("head.0.layers", "head.mlp")
    return name.replace("head.1.vectors", "head.last_layer.weight_v")
