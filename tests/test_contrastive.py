"""Contrastive terms and the layers that they are computed from, by hand."""

import math

import pytest
import torch

from owdfa.layers import CosineClassifier, ProjectionHead
from owdfa.losses import contrastive, supervised_contrastive

LABELS = [0, 1, -1, 1, -1, 2]


def views(num=6, dim=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, num, dim, dtype=torch.float64, generator=generator).unbind()


def cosine(a, b):
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_contrast_of_two_views_by_hand(temperature):
    first, second = views()
    rows = torch.cat([first, second]).tolist()
    terms = []
    for i, row in enumerate(rows):
        powers = {
            j: math.exp(cosine(row, other) / temperature) for j, other in enumerate(rows) if j != i
        }
        terms.append(-math.log(powers[(i + 6) % 12] / sum(powers.values())))
    found = contrastive(first, second, temperature)
    assert found.item() == pytest.approx(sum(terms) / 12)


def test_contrast_of_labelled_images_by_hand():
    first, second = views()
    rows, labels = torch.cat([first, second]).tolist(), LABELS * 2
    terms = []
    for i, row in enumerate(rows):
        if labels[i] < 0:
            continue
        powers = {
            j: math.exp(cosine(row, other) / 0.07)
            for j, other in enumerate(rows)
            if j != i and labels[j] >= 0
        }
        alike = [p for j, p in powers.items() if labels[j] == labels[i]]
        terms.append(sum(-math.log(p / sum(powers.values())) for p in alike) / len(alike))
    found = supervised_contrastive(first, second, torch.tensor(LABELS), 0.07)
    assert found.item() == pytest.approx(sum(terms) / len(terms))


@pytest.mark.parametrize("labels", [[-1] * 6, [-1, 0, -1, -1, -1, -1], LABELS])
def test_contrast_and_its_gradient_are_finite_with_any_labels(labels):
    first, second = (view.requires_grad_() for view in views())
    loss = supervised_contrastive(first, second, torch.tensor(labels), 0.07)
    loss.backward()
    assert first.grad.isfinite().all()
    unlabelled = torch.tensor(labels) < 0
    assert not first.grad[unlabelled].any()
    if unlabelled.all():
        assert loss.item() == 0


def test_unlabelled_images_change_nothing_among_labelled_ones():
    first, second = views()
    labels = torch.tensor(LABELS)
    found = supervised_contrastive(first, second, labels, 0.07)
    kept = labels >= 0
    alone = supervised_contrastive(first[kept], second[kept], labels[kept], 0.07)
    assert found.item() == pytest.approx(alone.item())


def test_cosine_classifier_ignores_lengths():
    torch.manual_seed(0)
    classifier = CosineClassifier(3, 4, temperature=0.1, norm=0.5).double()
    assert classifier.vectors.norm(dim=1).tolist() == pytest.approx([0.5] * 3, rel=1e-6)
    embedding = views()[0]
    logits = classifier(embedding)
    vector = classifier.vectors[1].tolist()
    assert logits[2, 1].item() == pytest.approx(cosine(embedding[2].tolist(), vector) / 0.1)
    with torch.no_grad():
        classifier.vectors *= 7
    torch.testing.assert_close(classifier(3 * embedding), logits)


def test_heads_keep_their_precision_under_autocast():
    for head in (CosineClassifier(3, 4, 0.1), ProjectionHead(4, 8, 5)):
        embedding = views()[0].float()
        with torch.autocast("cpu", torch.bfloat16):
            found = head(embedding.bfloat16())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, head(embedding.bfloat16().float()))
