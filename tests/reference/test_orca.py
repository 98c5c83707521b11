"""ORCA against numbers recorded from its authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.methods.orca import ORCA, ORCASettings, draw_partners
from owdfa.records.training import Features, Progress
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings
from owdfa.training.optimizer import learning_rate
from reference.recordings import Recording, arrays, cases, note, tensors
from small_networks import backbone

TERMS = {"ce": "cross_entropy", "bce": "pairwise", "entropy": "entropy"}


@pytest.mark.parametrize("recording", cases("orca_losses"), ids=repr)
def test_losses(recording: Recording):
    case, given = recording.note, tensors(recording)
    nothing = Backbone("none", nn.Identity(), (0, 0, 0), (1, 1, 1))
    method = ORCA(nothing, 1, given["first"].shape[1], ORCASettings()).double()
    method.uncertainty.fill_(case["uncertainty"])
    first, second = (given[view].requires_grad_() for view in ("first", "second"))
    found = method.losses(first, second, given["partners"], given["labels"])
    found.total.backward()

    assert found.total.item() == pytest.approx(case["total"], rel=1e-9, abs=1e-9)
    for ours, theirs in TERMS.items():
        assert found.terms[ours].item() == pytest.approx(case[theirs], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(first.grad, given["grad_first"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second.grad, given["grad_second"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recording", cases("orca_losses"), ids=repr)
def test_partners(recording: Recording):
    given = tensors(recording)
    labels, theirs = given["labels"], given["partners"]
    ours = draw_partners(given["features"], labels)
    assert torch.equal(ours[labels < 0], theirs[labels < 0])
    for partners in (ours, theirs):  # those of labelled images are drawn at random
        for row, label in enumerate(labels.tolist()):
            others = [i for i, other in enumerate(labels.tolist()) if other == label and i != row]
            assert label < 0 or partners[row] in (others or [row])


def test_training():
    run = note("orca_training")
    given = {name: torch.from_numpy(array) for name, array in arrays("orca_training").items()}
    method = ORCA(backbone(), run["num_known"], run["num_classes"], ORCASettings()).double()
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(method.backbone.network[0], name).copy_(given[f"init_conv.0.{name}"])
        method.classifier.vectors.copy_(given["init_fc.weight"].T)
    sgd = {"lr": run["lr"], "momentum": run["momentum"], "weight_decay": run["weight_decay"]}
    optimizer = torch.optim.SGD(method.parameters(), **sgd)
    schedule = ScheduleSettings(name="step", every=run["every"], gamma=run["gamma"])
    partners, labels = iter(given["partners"]), torch.tensor(run["labels"])
    seen = {name: [] for name in TERMS}
    for epoch in range(run["epochs"]):
        method.uncertainty.fill_(run["uncertainties"][epoch])
        progress = Progress(epoch, run["epochs"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(OptimiserSettings(name="sgd", **sgd), schedule, progress)
        for number in range(run["batches"]):
            views = [method.features(given[f"b{number}v{v}"].double()) for v in range(2)]
            with torch.no_grad():
                ours = draw_partners(views[0].embedding, labels)
            theirs = next(partners)
            assert torch.equal(ours[labels < 0], theirs[labels < 0])
            first, second = (method.classify(Features(view.embedding)) for view in views)
            found = method.losses(first, second, theirs, labels)
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            for name in TERMS:
                seen[name].append(found.terms[name].item())
    for ours, theirs in TERMS.items():
        assert seen[ours] == pytest.approx(run[theirs], rel=1e-7)
    final = method.classifier.vectors.detach().T
    torch.testing.assert_close(final, given["final_fc.weight"], rtol=1e-7, atol=1e-9)
    weight = method.backbone.network[0].weight.detach()
    torch.testing.assert_close(weight, given["final_conv.0.weight"], rtol=1e-7, atol=1e-9)
