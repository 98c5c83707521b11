import copy
import math

import pytest
import torch

from owdfa.errors import UserError
from owdfa.methods.cpl import CPL
from owdfa.pseudo_labels import (
    PseudoLabelSettings,
    gumbel_soft_labels,
    hard_pseudo_label_loss,
    make_rule,
    soft_pseudo_label_loss,
)
from owdfa.runs.settings import load_settings
from small_networks import backbone

CLASSES = 5
LABELS = torch.tensor([-1, 0, -1, -1, 2, -1, -1, -1])
ROWS = torch.tensor([3, 0, 7, 4, 1, 9, 8, 2])
UNLABELLED = LABELS == -1


def logits(seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(8, CLASSES, dtype=torch.float64, generator=generator)


def rule(name, **settings):
    made = make_rule(PseudoLabelSettings(rule=name, threshold=0.8, **settings), CLASSES).double()
    made.begin_training(torch.tensor([0, 0] + [-1] * 18))
    return made


def loss(which, z):
    which.begin_step(ROWS)
    return hard_pseudo_label_loss(which, z, UNLABELLED)


def probabilities(row):
    powers = [math.exp(z) for z in row]
    return [power / sum(powers) for power in powers]


def by_hand(z, thresholds):
    """The mean over unlabelled rows of the loss of those that reach their class's threshold."""
    terms = []
    for row, free in zip(z.tolist(), UNLABELLED.tolist(), strict=True):
        p = probabilities(row)
        guess = p.index(max(p))
        if free:
            terms.append(-math.log(max(p)) if max(p) >= thresholds[guess] else 0.0)
    return sum(terms) / len(terms)


def test_max_trusts_all():
    assert loss(rule("max"), logits()).item() == pytest.approx(by_hand(logits(), [0.0] * CLASSES))


def test_fixmatch_trusts_the_confident():
    found = loss(rule("fixmatch"), logits()).item()
    assert found == pytest.approx(by_hand(logits(), [0.8] * CLASSES))
    assert 0 < found < loss(rule("max"), logits()).item()


def test_flexmatch_asks_less_of_classes_that_are_behind():
    flexmatch = rule("flexmatch")
    remembered, progress = {}, [0.0] * CLASSES
    for seed in range(6):
        z = logits(seed)
        thresholds = [0.8 * a / (2 - a) for a in progress]
        assert loss(flexmatch, z).item() == pytest.approx(by_hand(z, thresholds))
        for row, place, free in zip(z.tolist(), ROWS.tolist(), UNLABELLED.tolist(), strict=True):
            p = probabilities(row)
            if free and max(p) >= 0.8:
                remembered[place] = p.index(max(p))
        counts = [list(remembered.values()).count(k) for k in range(CLASSES)]
        progress = [count / max(*counts, 18 - len(remembered)) for count in counts]
        assert flexmatch.progress.tolist() == pytest.approx(progress)


def test_freematch_follows_the_confidence_of_unlabelled_images():
    freematch = rule("freematch", momentum=0.5)
    t, p = 1.0, torch.ones(CLASSES, dtype=torch.float64)
    for seed in range(4):
        z = logits(seed)
        seen = z[UNLABELLED].softmax(dim=1)
        t = 0.5 * t + 0.5 * torch.quantile(seen.amax(dim=1), 0.8)
        p = 0.5 * p + 0.5 * seen.mean(dim=0)
        thresholds = (t * p / p.max()).tolist()
        assert loss(freematch, z).item() == pytest.approx(by_hand(z, thresholds))


@pytest.mark.parametrize("name", ["max", "fixmatch", "flexmatch", "freematch"])
def test_a_rule_without_unlabelled_images_says_nothing_and_learns_nothing(name):
    which = rule(name)
    before = copy.deepcopy(which.state_dict())
    z = logits().requires_grad_()
    which.begin_step(ROWS)
    found = hard_pseudo_label_loss(which, z, torch.zeros(8, dtype=torch.bool))
    found.backward()
    assert found.item() == 0
    assert not z.grad.any()
    assert all(torch.equal(before[key], value) for key, value in which.state_dict().items())


@pytest.mark.parametrize("name", ["flexmatch", "freematch"])
def test_what_a_rule_remembers_is_in_its_state(name):
    first, other = rule(name), rule(name)
    for seed in range(3):
        loss(first, logits(seed))
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in range(3, 6):
        assert loss(first, logits(seed)) == loss(other, logits(seed))


def test_flexmatch_refuses_more_images_than_it_remembers():
    settings = PseudoLabelSettings(rule="flexmatch", remembered=10)
    with pytest.raises(UserError, match=r"remembers 10 .* are 12; set .*remembered=12"):
        make_rule(settings, CLASSES).begin_training(torch.full((12,), -1))


@pytest.mark.parametrize("setting", ["threshold=1.5", "momentum=1", "rule=fixmach", "weight=-1"])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(UserError, match=r"^--set: method\.pseudo_labels\."):
        load_settings(None, None, ["method.name=cpl", f"method.pseudo_labels.{setting}"])


def test_a_method_tells_its_rule_what_it_is_told():
    settings = CPL.settings_type(pseudo_labels=PseudoLabelSettings(rule="flexmatch"))
    method = CPL(backbone(), 2, CLASSES, settings)
    method.begin_training(torch.tensor([0, -1, -1]))
    method.begin_step(torch.tensor([2, 1]))
    assert method.rule.num_unlabelled == 2
    assert method.rule.rows.tolist() == [2, 1]


def test_soft_labels_are_distributions_that_follow_the_prediction():
    z = torch.tensor([[0.0, math.log(3)]]).expand(20_000, 2)
    drawn = gumbel_soft_labels(z)
    torch.testing.assert_close(drawn.sum(dim=1), torch.ones(20_000))
    assert drawn.argmax(dim=1).float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert not gumbel_soft_labels(z.clone().requires_grad_()).requires_grad


def test_the_loss_of_soft_labels_by_hand():
    z, chosen = logits(), torch.arange(8) % 3 > 0
    soft_labels = gumbel_soft_labels(z)
    terms = []
    for row, q, yes, free in zip(
        z.tolist(), soft_labels.tolist(), chosen.tolist(), UNLABELLED.tolist(), strict=True
    ):
        p = probabilities(row)
        cross = -sum(a * math.log(b) for a, b in zip(q, p, strict=True))
        if free:
            terms.append(p[q.index(max(q))] * yes * cross)
    found = soft_pseudo_label_loss(z, soft_labels, chosen, UNLABELLED)
    assert found.item() == pytest.approx(sum(terms) / len(terms))
