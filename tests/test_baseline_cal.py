"""What the benchmarks of CAL compare with must compute the same."""

import copy

import pytest
import torch

from benchmarks.baseline.cal import PlainTraining
from benchmarks.baseline.network import like
from owdfa.backbones.base import build
from owdfa.methods.cal import CAL, CALSettings
from owdfa.records.training import Batch, Progress

LABELS = torch.tensor([0, 1, 2, -1, -1, -1, -1, 1])


def cal(model="tiny/trace8w16"):
    torch.manual_seed(0)
    return CAL(build(model), 3, None, CALSettings(dropout=0.0, prototype_scale=0.05)).double()


def images(size=32):
    views = torch.randn(2, 8, 3, size, size, dtype=torch.float64).clamp(-2.1, 2.6)  # as images
    return Batch(tuple(views), LABELS, torch.arange(8))


def losses(ours, batch, progress):
    views = tuple(ours.features(view) for view in batch.views)
    return ours.objective(views, batch.labels, progress)


def plain_training(ours):
    network = like(ours).double()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-3)
    return PlainTraining(network, optimizer, 3, 10)


@pytest.mark.parametrize("model", ["tiny/trace8w16", "torchvision/resnet18"])
@pytest.mark.parametrize("epoch", [0, 6])
def test_a_step_gives_the_same_logits_losses_and_gradients(model, epoch):
    ours, batch = cal(model), images()
    plain = plain_training(ours)
    found = losses(ours, batch, Progress(epoch, 10))
    found.total.backward()
    plain.step(*batch.views, LABELS, epoch)
    torch.testing.assert_close(plain.logits[0], found.logits, rtol=1e-7, atol=1e-9)
    told = plain.log[0]
    assert told["loss"] == pytest.approx(found.total.item(), rel=1e-7)
    assert told == pytest.approx(
        {name: term.item() for name, term in found.terms.items()}
        | {k: told[k] for k in ("loss", "labelled_accuracy")},
        rel=1e-7,
        abs=1e-9,
    )
    theirs = [p.grad for p in plain.network.parameters() if p.grad is not None]
    own = [p.grad for p in ours.parameters() if p.grad is not None]
    assert len(own) == len(theirs) > 10
    assert sorted(g.norm().item() for g in own) == pytest.approx(
        sorted(g.norm().item() for g in theirs), rel=1e-5, abs=1e-9
    )


def test_several_steps_lead_to_the_same_place():
    ours = cal()
    plain, batch = plain_training(ours), images()
    optimizer = torch.optim.Adam([p for p in ours.parameters() if p.requires_grad], 1e-3)
    start = copy.deepcopy(ours.prototypes.vectors.detach())
    for epoch in range(3):
        optimizer.zero_grad()
        losses(ours, batch, Progress(epoch, 10)).total.backward()
        optimizer.step()
        plain.step(*batch.views, LABELS, epoch)
    vectors = ours.prototypes.vectors.detach()
    assert not torch.allclose(vectors, start, atol=1e-4)
    torch.testing.assert_close(plain.network.prototypes.weight.detach(), vectors, atol=1e-5, rtol=0)
    assert torch.equal(torch.cat(plain.logits).argmax(1).bincount(minlength=30), ours.usage)
