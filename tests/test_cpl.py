import math

import pytest
import torch

from owdfa.errors import UserError
from owdfa.losses import margin_cross_entropy, masked_mean, partner_agreement
from owdfa.methods.cpl import CPL, CPLSettings
from owdfa.pseudo_labels import PseudoLabelSettings
from owdfa.records.training import Progress
from owdfa.votes import Votes
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, -1, 1, -1, 0]
CLASSES = 5


def logits(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(8, CLASSES, dtype=torch.float64, generator=generator)


def method(**settings):
    torch.manual_seed(0)
    settings = {"prototype_scale": 1.0, "dropout": 0.0, **settings}
    return CPL(backbone(), 2, CLASSES, CPLSettings(**settings))


def images(labels, seed=0):
    return batch(labels, seed, num_views=1)


def test_cross_entropy_after_the_margin_by_hand():
    z, labels = logits(), torch.tensor(LABELS)
    terms = []
    for row, label in zip(z.tolist(), LABELS, strict=True):
        if label >= 0:
            row[label] += 0.2
            terms.append(math.log(sum(map(math.exp, row))) - row[label])
    found = margin_cross_entropy(z, labels, 0.2)
    assert found.item() == pytest.approx(sum(terms) / len(terms))
    assert found < margin_cross_entropy(z, labels, 0.0)


def test_agreement_with_partners_by_hand():
    z, partners = logits(), torch.tensor([1, 0, 2, 5, 4, 3, 7, 7])
    p = z.softmax(dim=1)
    terms = [-math.log(float(p[i] @ p[j])) for i, j in enumerate(partners.tolist())]
    assert partner_agreement(z, partners).item() == pytest.approx(sum(terms) / 8)


def test_partners_that_cannot_be_of_one_class_are_no_catastrophe():
    z = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    found = partner_agreement(z, torch.tensor([1, 0]))
    found.backward()
    assert found.item() == 100
    assert z.grad.isfinite().all()


def test_a_mean_of_nothing_is_zero():
    values = torch.full((3, 2), torch.nan)
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)).tolist() == [0, 0]


def test_terms_add_up_as_in_the_paper():
    cpl = method(
        glv_weight=0.3,
        csp_weight=0.4,
        entropy_weight=0.6,
        pseudo_labels=PseudoLabelSettings(rule="max", weight=0.7),
    )
    total, terms, seen = losses(cpl, images(LABELS), Progress(0, 4))
    assert all(term > 0 for term in terms.values())
    expected = (
        terms["ce"]
        + 0.3 * terms["glv"]
        + 0.4 * terms["csp"]
        - 0.6 * terms["entropy"]
        + 0.7 * terms["pseudo"]
    )
    assert total.item() == pytest.approx(expected.item())
    assert seen.shape == (8, CLASSES)


def test_soft_labels_teach_confirmed_unlabelled_images_alone():
    z, labels = logits(), torch.tensor(LABELS)
    soft_labels, noise = torch.full((8, CLASSES), 1 / CLASSES).double(), torch.rand(8, 8)
    votes = Votes(torch.arange(8).roll(1), torch.tensor([1, 1, 0, 1, 0, 1, 0, 1]))
    cpl = method().double()
    found = cpl.losses(z, labels, votes, soft_labels, noise).terms["csp"]
    changed = z.clone()
    changed[[0, 1, 2, 4, 5, 6, 7]] += 1 + torch.rand(7, CLASSES).double()
    again = cpl.losses(changed, labels, votes, soft_labels, noise).terms["csp"]
    assert found.item() == pytest.approx(again.item())


def test_the_order_of_a_batch_does_not_matter():
    cpl, order = method().double(), torch.tensor([3, 7, 0, 5, 2, 6, 1, 4])
    z, labels, soft_labels = logits(), torch.tensor(LABELS), logits(1).softmax(dim=1)
    noise = torch.rand(8, 8)
    neighbours, num_votes = torch.arange(8).roll(1), torch.arange(8) % 2
    place = torch.argsort(order)
    first = cpl.losses(z, labels, Votes(neighbours, num_votes), soft_labels, noise)
    moved = Votes(place[neighbours[order]], num_votes[order])
    other = cpl.losses(z[order], labels[order], moved, soft_labels[order], noise[order][:, order])
    assert other.total.item() == pytest.approx(first.total.item())


def test_cells_are_computed_in_training_alone():
    cpl = method()
    maps = torch.randn(4, 6, 8, 8)
    assert cpl.head(maps).parts["cells"].shape == (4, 6, 9)
    assert not cpl.eval().head(maps).parts


def test_more_cells_than_places_are_refused():
    with pytest.raises(UserError, match=r"4 x 4 has no 5 x 5 cells; set fewer, or larger images"):
        losses(method(cells=5), images(LABELS), Progress(0, 4))
