import math

import pytest
import torch

from owdfa.methods.simgcd import SimGCD, SimGCDSettings, distillation, teacher_temperature
from owdfa.records.training import Features, Progress
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def method(**settings):
    torch.manual_seed(0)
    return SimGCD(backbone(), 3, 7, SimGCDSettings(hidden_dim=16, projection_dim=8, **settings))


def softmax(row, factor=1.0):
    powers = [math.exp(factor * z) for z in row]
    return [power / sum(powers) for power in powers]


def test_distillation_by_hand():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 5, dtype=torch.float64, generator=generator).unbind()
    found = distillation(first.requires_grad_(), second, 2.5)
    terms = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        for teacher, student in ((a, b), (b, a)):
            pairs = zip(softmax(teacher, 2.5), softmax(student), strict=True)
            terms.append(-sum(t * math.log(p) for t, p in pairs))
    assert found.item() == pytest.approx(sum(terms) / len(terms))


def test_distillation_teaches_no_teacher():
    first = torch.randn(6, 5, dtype=torch.float64).requires_grad_()
    second = torch.randn(6, 5, dtype=torch.float64)
    distillation(first, second, 2.5).backward()
    # As student, the gradient is softmax(z) - target, halved for the two directions.
    target = (2.5 * second).softmax(dim=1)
    expected = (first.detach().softmax(dim=1) - target) / 6 / 2
    torch.testing.assert_close(first.grad, expected)


@pytest.mark.parametrize(
    ("share", "epochs", "expected"),
    [
        (0.15, 200, {0: 0.07, 1: 0.07 - 0.03 / 29, 29: 0.04, 30: 0.04, 199: 0.04}),
        (0.3, 10, {0: 0.07, 1: 0.055, 2: 0.04, 9: 0.04}),
        (0.1, 10, {0: 0.04}),
        (0.0, 10, {0: 0.04, 5: 0.04}),
    ],
)
def test_teacher_is_sharpened_over_its_warm_up(share, epochs, expected):
    settings = SimGCDSettings(teacher_warm_up=share)
    for epoch, temperature in expected.items():
        found = teacher_temperature(settings, Progress(epoch, epochs))
        assert found == pytest.approx(temperature)


def test_objective_is_the_papers_sum():
    simgcd = method(memax_weight=3.0, supervised_weight=0.2)
    found = losses(simgcd, batch(LABELS), Progress(0, 10))
    terms = {name: term.item() for name, term in found.terms.items()}
    unsupervised = terms["ucon"] + terms["dist"] + 3 * terms["memax"]
    expected = 0.8 * unsupervised + 0.2 * (terms["scon"] + terms["ce"])
    assert found.total.item() == pytest.approx(expected, rel=1e-6)
    assert terms["memax"] >= 0


def test_predictions_are_cosines_over_the_students_temperature():
    simgcd = method()
    logits = simgcd.classify(Features(simgcd.classifier.vectors.detach()))
    assert logits.diagonal().tolist() == pytest.approx([10.0] * 7, rel=1e-5)
    assert logits.abs().max() <= 10.001


def test_both_views_count_alike():
    simgcd = method()
    images = batch(LABELS)
    swapped = type(images)(images.views[::-1], images.labels, images.rows)
    one, other = (losses(simgcd, each, Progress(3, 10)).total for each in (images, swapped))
    assert one.item() == pytest.approx(other.item(), rel=1e-5)
