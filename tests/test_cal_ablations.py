"""What CAL's paper leaves out of it in turn (its tables of ablations) are settings."""

import pytest
import torch

from owdfa.methods.cal import CAL, CALSettings, asymmetric_reinforcement
from owdfa.records.training import Progress
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, -1, 1, -1, 0]


def method(**settings):
    torch.manual_seed(0)
    shared = {"prototype_scale": 1.0, "dropout": 0.0, "warm_up_epochs": 0}
    return CAL(backbone(), 2, 6, CALSettings(**shared | settings))


def found(cal):
    return losses(cal, batch(LABELS), Progress(0, 4))


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"ccr_weight": 0, "acr_weight": 0}, {"ce": 1, "r": 1}),
        ({"acr_weight": 0}, {"ce": 1, "r": 1, "ccr": 0.2}),
        ({"ccr_weight": 0}, {"ce": 1, "r": 1, "acr": 1}),
        ({}, {"ce": 1, "r": 1, "acr": 1, "ccr": 0.2}),
    ],
)
def test_a_term_of_weight_zero_is_left_out(settings, left):
    total, terms, _ = found(method(**settings))
    assert all(term > 0 for term in terms.values())
    assert total.item() == pytest.approx(sum(w * terms[name].item() for name, w in left.items()))


def test_frequency_enhancement_is_left_out():
    assert method(ffe=False).ffe is None


@pytest.mark.parametrize("threshold", [0.9, 0.95])
def test_a_fixed_threshold_is_one_for_known_and_novel_classes(threshold):
    cal = method(adaptive_threshold=False, known_threshold=threshold)
    for _ in range(2):  # at first, and after an epoch
        with torch.no_grad():
            weak = cal(batch(LABELS).views[0]).logits
            expected = asymmetric_reinforcement(
                weak,
                torch.tensor(LABELS) < 0,
                num_known=6,  # that is, all
                known_threshold=threshold,
                novel_threshold=torch.tensor(0.0),
            )
        cal.train()
        assert cal._reinforcement(weak, torch.tensor(LABELS) < 0, 0) == expected
        found(cal)
        log = cal.end_epoch(Progress(0, 4)).log
        assert log["novel_threshold"] == pytest.approx(threshold)


def test_an_adaptive_threshold_moves():
    cal = method()
    found(cal)
    assert cal.novel_threshold == 0
    cal.agreement.copy_(torch.tensor([[9.0, 10], [4.5, 10]]))
    cal.end_epoch(Progress(0, 4))
    assert cal.novel_threshold.item() == pytest.approx(0.45)
