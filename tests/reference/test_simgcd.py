"""SimGCD against numbers recorded from its authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.methods.simgcd import SimGCD, SimGCDSettings
from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings
from owdfa.training.optimizer import learning_rate
from reference.recordings import Recording, arrays, cases, note, tensors
from small_networks import backbone, losses

TERMS = {
    "ce": "cross_entropy",
    "dist": "distillation",
    "memax": "memax",
    "ucon": "contrastive",
    "scon": "supervised_contrastive",
}


@pytest.mark.parametrize("recording", cases("simgcd_losses"), ids=repr)
def test_losses(recording: Recording):
    case, given = recording.note, tensors(recording)
    settings = SimGCDSettings(
        supervised_weight=case["supervised_weight"],
        memax_weight=case["memax_weight"],
        teacher_warm_up=case["warmup_epochs"] / case["epochs"],
    )
    nothing = Backbone("none", nn.Identity(), (0, 0, 0), (1, 1, 1))
    method = SimGCD(nothing, 1, given["cosine"].shape[1], settings).double()
    cosine, projection = (given[name].requires_grad_() for name in ("cosine", "projection"))
    found = method.losses(
        (cosine / 0.1).chunk(2),
        projection.chunk(2),
        given["labels"],
        Progress(case["epoch"], case["epochs"]),
    )
    found.total.backward()

    assert found.total.item() == pytest.approx(case["total"], rel=1e-9, abs=1e-9)
    for ours, theirs in TERMS.items():
        assert found.terms[ours].item() == pytest.approx(case[theirs], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(cosine.grad, given["grad_cosine"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(projection.grad, given["grad_projection"], rtol=1e-9, atol=1e-9)


def test_training():
    run = note("simgcd_training")
    given = {name: torch.from_numpy(array) for name, array in arrays("simgcd_training").items()}
    settings = SimGCDSettings(
        hidden_dim=run["hidden"],
        projection_dim=run["bottleneck"],
        supervised_weight=run["supervised_weight"],
        memax_weight=run["memax_weight"],
        teacher_warm_up=run["warmup_epochs"] / run["epochs"],
    )
    method = SimGCD(backbone(), run["num_known"], run["num_classes"], settings).double()
    names = official_names(method)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            parameter.copy_(given[f"init_{names[name]}"])
    # In the release, biases have no weight decay.
    decayed = [p for p in method.parameters() if p.dim() > 1]
    others = [p for p in method.parameters() if p.dim() == 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    sgd = {"lr": run["lr"], "momentum": run["momentum"], "weight_decay": run["weight_decay"]}
    optimizer = torch.optim.SGD(groups, **sgd)
    schedule = ScheduleSettings(name="cosine", gamma=run["lr_end"])
    seen = []
    for epoch in range(run["epochs"]):
        progress = Progress(epoch, run["epochs"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(OptimiserSettings(name="sgd", **sgd), schedule, progress)
        for number in range(run["batches"]):
            views = tuple(given[f"b{number}v{view}"].double() for view in range(2))
            labels = torch.tensor(run["labels"])
            found = losses(method, Batch(views, labels, torch.arange(len(labels))), progress)
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            seen.append(found.total.item())
    assert seen == pytest.approx(run["losses"], rel=1e-7)
    for name, parameter in method.named_parameters():
        expected = given[f"final_{names[name]}"]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-7)


def official_names(method):
    """Name in the recording of every parameter of ours."""
    names = {"classifier.vectors": "2.last_layer.weight_v"}
    for name, _ in method.named_parameters():
        if name.startswith("backbone."):
            names[name] = "0." + name.split(".", 2)[2]
        elif name.startswith("head."):
            names[name] = name.replace("head.layers", "2.mlp")
    return names
