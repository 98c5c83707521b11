import math

import pytest
import torch

from owdfa.methods.orca import (
    ORCA,
    ORCASettings,
    draw_partners,
    pairwise_agreement,
    raise_targets,
)
from owdfa.records.training import Progress
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def method(**settings):
    torch.manual_seed(0)
    return ORCA(backbone(), 3, 7, ORCASettings(**settings))


def test_pairwise_agreement_by_hand():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 5, dtype=torch.float64, generator=generator).unbind()
    terms = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        p, q = ([math.exp(z) / sum(map(math.exp, row)) for z in row] for row in (a, b))
        terms.append(-math.log(sum(x * y for x, y in zip(p, q, strict=True))))
    assert pairwise_agreement(first, second).item() == pytest.approx(sum(terms) / 6)


def test_pairwise_agreement_stays_finite():
    first = torch.tensor([[500.0, -500.0]], requires_grad=True)
    loss = pairwise_agreement(first, torch.tensor([[-500.0, 500.0]]))
    loss.backward()
    assert loss.isfinite()
    assert first.grad.isfinite().all()


def test_margin_is_added_to_the_logit_of_the_label():
    logits, labels = torch.zeros(3, 4), torch.tensor([2, 0, 3])
    raised = raise_targets(logits, labels, torch.tensor(1.5))
    assert raised.tolist() == [[0, 0, 1.5, 0], [1.5, 0, 0, 0], [0, 0, 0, 1.5]]
    assert not logits.any()


def test_partners_by_hand():
    embedding = torch.tensor([[1, 0], [0.9, 0.1], [0, 1], [-1, 0.2], [0.1, 1], [1, 0.05]])
    labels = torch.tensor([0, 0, 1, -1, -1, -1])
    more = torch.cat([embedding, embedding[:1]]), torch.cat([labels, labels[:1]])
    assert {draw_partners(*more)[0].item() for _ in range(50)} == {1, 6}
    partners = draw_partners(embedding, labels).tolist()
    assert partners[:3] == [1, 0, 2]  # an image alone in its class is its own partner
    assert partners[3:] == [2, 2, 0]  # the smallest angle, to labelled images too


def test_an_image_seen_twice_is_its_own_neighbour():
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert draw_partners(embedding, torch.full((3,), -1)).tolist()[:2] == [1, 0]


def test_margin_follows_the_uncertainty_of_the_epoch_before():
    orca = method()
    assert orca.uncertainty == 1
    sums, count = 0.0, 0
    for seed in range(3):
        images = batch(LABELS, seed)
        sums += (
            losses(orca, images, Progress(0, 4)).logits.softmax(1).amax(1)[images.labels < 0].sum()
        )
        count += 4
    end = orca.end_epoch(Progress(0, 4))
    assert orca.uncertainty.item() == pytest.approx(1 - sums.item() / count)
    assert end.log == {"uncertainty": orca.uncertainty.item()}
    assert not orca.confidence.any()
    before = orca.uncertainty.clone()
    losses(orca, batch([0, 1, 2, 0]), Progress(1, 4))
    orca.end_epoch(Progress(1, 4))
    assert orca.uncertainty == before  # an epoch without unlabelled images says nothing


def test_margin_is_limited():
    logits, labels = torch.zeros(2, 4), torch.tensor([1, 2])
    for uncertainty, margin in ((0.2, 2.0), (0.9, 3.0)):
        orca = method(max_uncertainty=0.3)
        orca.uncertainty.fill_(uncertainty)
        found = orca.losses(logits, logits, torch.tensor([0, 1]), labels).terms["ce"]
        share = math.exp(margin) / (math.exp(margin) + 3)
        assert found.item() == pytest.approx(-math.log(share))


def test_objective_is_the_papers_sum():
    found = losses(method(), batch(LABELS), Progress(0, 4))
    terms = found.terms
    assert found.total.item() == pytest.approx(
        (terms["ce"] + terms["bce"] - terms["entropy"]).item()
    )
