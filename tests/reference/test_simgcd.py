"""SimGCD against numbers recorded from its authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.methods.simgcd import SimGCD, SimGCDSettings
from owdfa.records.training import Progress
from reference.recorded_training import RecordedTraining
from reference.recordings import Recording, cases, tensors
from small_networks import backbone

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
    recording = RecordedTraining("simgcd_training")
    run = recording.run
    settings = SimGCDSettings(
        hidden_dim=run["hidden"],
        projection_dim=run["bottleneck"],
        supervised_weight=run["supervised_weight"],
        memax_weight=run["memax_weight"],
        teacher_warm_up=run["warmup_epochs"] / run["epochs"],
    )
    method = SimGCD(backbone(), run["num_known"], run["num_classes"], settings).double()
    names = official_names(method)
    recording.begin(method, names)
    # In the release, biases have no weight decay.
    decayed = [p for p in method.parameters() if p.dim() > 1]
    others = [p for p in method.parameters() if p.dim() == 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    recording.assert_same(method, names, groups)


def official_names(method):
    """Name in the recording of every parameter of ours."""
    names = {"classifier.vectors": "2.last_layer.weight_v"}
    for name, _ in method.named_parameters():
        if name.startswith("backbone."):
            names[name] = "0." + name.split(".", 2)[2]
        elif name.startswith("head."):
            names[name] = name.replace("head.layers", "2.mlp")
    return names
