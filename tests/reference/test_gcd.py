"""GCD against numbers recorded from its authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.clustering import iterate
from owdfa.methods.gcd import GCD, GCDSettings
from reference.recorded_training import RecordedTraining
from reference.recordings import Recording, cases, tensors
from small_networks import backbone

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
    recording = RecordedTraining("gcd_training")
    run = recording.run
    settings = GCDSettings(
        hidden_dim=run["hidden"],
        bottleneck_dim=run["bottleneck"],
        projection_dim=run["outputs"],
        supervised_weight=run["supervised_weight"],
    )
    method = GCD(backbone(), run["num_known"], run["num_classes"], settings).double()
    names = {name: official_name(name) for name, _ in method.named_parameters()}
    recording.begin(method, names)
    recording.assert_same(method, names, list(method.parameters()))


def official_name(name):
    """Name in the recording of a parameter of ours."""
    if name.startswith("backbone."):
        return "base.conv." + name.split(".", 2)[2]
    name = name.replace("head.0.layers", "head.mlp")
    return name.replace("head.1.vectors", "head.last_layer.weight_v")
