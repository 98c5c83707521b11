import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from owdfa.losses import chosen_cross_entropy, entropy_of_mean, labelled_cross_entropy
from owdfa.methods.cal import (
    CAL,
    CALSettings,
    agreement_stats,
    asymmetric_reinforcement,
    confidence_weighted_consistency,
    next_novel_threshold,
    prior_regularizer,
)
from owdfa.records.training import Progress
from owdfa.training.optimizer import move_rows
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, -1, 1, -1, 0]


def logits(seed=0, num=8, classes=5):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num, classes, dtype=torch.float64, generator=generator)


def probabilities(row, temperature=1.0):
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def method(num_classes=None, **settings):
    torch.manual_seed(0)
    settings = {"prototype_scale": 1.0, "dropout": 0.0, **settings}
    return CAL(backbone(), 2, num_classes, CALSettings(**settings))


def test_cross_entropy_by_hand():
    z, labels = logits(), torch.tensor(LABELS)
    terms = [-math.log(probabilities(z[i].tolist())[y]) for i, y in enumerate(LABELS) if y >= 0]
    assert labelled_cross_entropy(z, labels).item() == pytest.approx(sum(terms) / len(terms))


@pytest.mark.parametrize(
    "term",
    [
        lambda z: labelled_cross_entropy(z, torch.full((8,), -1)),
        lambda z: chosen_cross_entropy(z, z.argmax(1), torch.zeros(8, dtype=torch.bool)),
        lambda z: labelled_cross_entropy(z[:0], torch.zeros(0, dtype=torch.int64)),
    ],
)
def test_a_mean_of_nothing_is_zero_and_pulls_nowhere(term):
    z = logits().requires_grad_()
    loss = term(z)
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()


def test_prior_regularizer_by_hand():
    z = logits()
    rows = [probabilities(row) for row in z.tolist()]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    entropy = -sum(p * math.log(p) for p in mean)
    assert entropy_of_mean(z).item() == pytest.approx(entropy)
    assert prior_regularizer(z).item() == pytest.approx((math.log(5) - entropy) / 2)


def test_prior_regularizer_is_least_when_all_classes_are_used_alike():
    assert prior_regularizer(100 * torch.eye(5, dtype=torch.float64)).item() == pytest.approx(
        0, abs=1e-12
    )
    z = torch.tensor([[1e4, 0.0, -1e4]] * 3, requires_grad=True)
    loss = prior_regularizer(z)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3) / 2)
    assert z.grad.isfinite().all()  # though two classes have no probability at all


@pytest.mark.parametrize("progress", [0.02, 0.5, 1.0])
def test_consistency_by_hand(progress):
    weak, strong = logits(0).requires_grad_(), logits(1).requires_grad_()
    found = confidence_weighted_consistency(weak, strong, progress=progress)
    terms = []
    for w, s in zip(weak.tolist(), strong.tolist(), strict=True):
        teacher, student = probabilities(w, 0.1), probabilities(s)
        weight = (1 - progress) * max(teacher) + progress * (1 - max(teacher))
        terms.append(-weight * sum(t * math.log(p) for t, p in zip(teacher, student, strict=True)))
    assert found.item() == pytest.approx(sum(terms) / len(terms))
    found.backward()
    assert weak.grad is None  # the teacher is not taught
    assert strong.grad.any()


@pytest.mark.parametrize("novel_threshold", [0.0, 0.7, 1.3])
def test_reinforcement_by_hand(novel_threshold):
    z, unlabelled = logits(num=30), torch.arange(30) % 3 > 0
    found = asymmetric_reinforcement(
        z,
        unlabelled,
        num_known=2,
        known_threshold=0.9,
        novel_threshold=torch.tensor(novel_threshold, dtype=torch.float64),
    )
    terms = []
    for row, free in zip(z.tolist(), unlabelled.tolist(), strict=True):
        p = probabilities(row)
        guess = p.index(max(p))
        if free and max(p) >= (0.9 if guess < 2 else novel_threshold):
            terms.append(-math.log(max(p)))
    assert found.item() == pytest.approx(sum(terms) / len(terms))


def test_agreement_and_threshold_by_hand():
    weak, strong = logits(0, 40), logits(0, 40) + 0.5 * logits(1, 40)
    sums = {True: [0.0, 0], False: [0.0, 0]}
    for w, s in zip(weak.tolist(), strong.tolist(), strict=True):
        if w.index(max(w)) == s.index(max(s)):
            entry = sums[w.index(max(w)) < 2]
            entry[0] += max(probabilities(w))
            entry[1] += 1
    expected = torch.tensor([sums[True], sums[False]], dtype=torch.float64)
    agreed = agreement_stats(weak, strong, 2)
    torch.testing.assert_close(agreed, expected)
    mean = {known: total / count for known, (total, count) in sums.items()}
    threshold = next_novel_threshold(torch.tensor(0.5, dtype=torch.float64), agreed, 0.9)
    assert threshold.item() == pytest.approx(0.9 * mean[False] / mean[True], rel=1e-6)


@pytest.mark.parametrize(
    ("agreed", "expected"),
    [
        ([[0.0, 0], [3.0, 4]], 0.5),  # no known image: it stays
        ([[3.0, 4], [0.0, 0]], 0.5),
        ([[9.0, 10], [0.3, 10]], 0.09),  # a tenth at least
        ([[0.3, 10], [9.0, 10]], 9.0),  # ten times at most
    ],
)
def test_threshold_keeps_to_its_limits(agreed, expected):
    found = next_novel_threshold(torch.tensor(0.5), torch.tensor(agreed), 0.9)
    assert found.item() == pytest.approx(expected)


def test_terms_add_up_as_in_the_paper():
    cal = method(6, warm_up_epochs=0, ccr_weight=0.3)
    total, terms, weak = losses(cal, batch(LABELS), Progress(0, 4))
    assert all(term > 0 for term in terms.values())
    expected = terms["ce"] + terms["r"] + terms["acr"] + 0.3 * terms["ccr"]
    assert total.item() == pytest.approx(expected.item())
    with torch.no_grad():
        strong = cal(batch(LABELS).views[1]).logits
    ccr = confidence_weighted_consistency(weak, strong, progress=1 / 4)  # the first of four epochs
    assert terms["ccr"].item() == pytest.approx(ccr.item(), rel=1e-5)
    assert weak.shape == (8, 6)
    assert not weak.requires_grad


def test_reinforcement_waits_for_the_warm_up():
    cal = method(6, warm_up_epochs=2)
    acr = [losses(cal, batch(LABELS), Progress(epoch, 4)).terms["acr"].item() for epoch in range(3)]
    assert acr[:2] == [0, 0]
    assert acr[2] > 0


def test_batch_normalisation_sees_one_view_at_a_time():
    cal, both = method(6), batch(LABELS)
    losses(cal, both, Progress(0, 4))
    assert cal.neck.norm.num_batches_tracked == 2


def test_an_epoch_is_counted_and_then_forgotten():
    cal = method()
    guesses, agreed = torch.zeros(20, dtype=torch.int64), torch.zeros(2, 2)
    for seed in range(3):
        images = batch(LABELS, seed)
        found = losses(cal, images, Progress(0, 4))
        guesses += found.logits.argmax(1).bincount(minlength=20)
        with torch.no_grad():
            strong = cal(images.views[1]).logits
        agreed += agreement_stats(found.logits, strong, 2)
    assert torch.equal(cal.usage, guesses)
    torch.testing.assert_close(cal.agreement, agreed)
    cal.end_epoch(Progress(0, 4))
    assert not cal.usage.any()
    assert not cal.agreement.any()


def test_pruning_follows_usage_and_says_what_moved():
    cal = method()
    before = cal.prototypes.vectors.detach().clone()
    cal.usage[:] = torch.tensor([5, 5] + [0] * 15 + [50, 100, 0])
    end = cal.end_epoch(Progress(0, 4))
    (move,) = end.moves
    assert move.parameter is cal.prototypes.vectors
    assert move.sources.tolist()[:4] == [0, 1, 18, 17]
    assert cal.num_active == len(move.sources) < 20
    assert cal(batch(LABELS).views[0]).logits.shape == (8, cal.num_active)
    assert torch.equal(cal.prototypes.vectors[:2], before[:2])
    assert not cal.prototypes.vectors[cal.num_active :].any()


def test_nothing_is_pruned_when_the_number_is_known():
    cal = method(20)
    cal.usage[5] = 100
    assert cal.end_epoch(Progress(0, 4)).moves == ()
    assert cal.num_active == 20


def test_dead_prototypes_stay_dead_while_the_others_learn():
    cal = method()
    optimizer = torch.optim.Adam(cal.parameters(), lr=0.1, weight_decay=0.001)
    for epoch in range(3):
        for seed in range(2):
            optimizer.zero_grad()
            losses(cal, batch(LABELS, seed), Progress(epoch, 3)).total.backward()
            optimizer.step()
        cal.usage[2:] = torch.arange(18) ** 3
        for move in cal.end_epoch(Progress(epoch, 3)).moves:
            move_rows(optimizer, move)
    assert cal.num_active < 20
    assert not cal.prototypes.vectors[cal.num_active :].any()
    assert cal.prototypes.vectors[: cal.num_active].any(dim=1).all()


def test_statistics_keep_their_precision_under_autocast():
    cal = method(6, warm_up_epochs=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(cal, batch(LABELS), Progress(0, 4))
    assert {found.total.dtype, *(term.dtype for term in found.terms.values())} == {torch.float32}
    assert found.logits.dtype == cal.agreement.dtype == torch.float32

    weak, strong = logits(0, 40).float(), logits(1, 40).float()
    terms = (
        lambda: agreement_stats(weak, strong, 2),
        lambda: prior_regularizer(weak),
        lambda: confidence_weighted_consistency(weak, strong, progress=0.5),
        lambda: labelled_cross_entropy(weak, weak.argmax(dim=1)),
    )
    for term in terms:
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = term()
        torch.testing.assert_close(under_autocast, term(), rtol=1e-6, atol=1e-6)


def test_without_frequency_enhancement_there_is_none():
    assert method(6, ffe=False).ffe is None
    assert method(6, ffe=False)(batch(LABELS).views[0]).logits.shape == (8, 6)


class WaitsForDevice(TorchDispatchMode):
    """Fail at what makes the processor wait for a device: reading a value, or a size from it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        assert func.overloadpacket not in {
            aten._local_scalar_dense,
            aten.nonzero,
            aten.masked_select,
            aten.bincount,
            aten.equal,
        }
        indices = args[1] if func.overloadpacket in {aten.index, aten.index_put_} else ()
        assert not any(i is not None and i.dtype == torch.bool for i in indices)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("labels", [LABELS, [-1] * 8, [0, 1] * 4])
def test_a_step_never_waits_for_the_device(labels):
    cal, images = method(warm_up_epochs=0), batch(labels)
    with WaitsForDevice():
        losses(cal, images, Progress(0, 4)).total.backward()
    with pytest.raises(AssertionError), WaitsForDevice():
        images.labels[images.labelled]


def test_prototypes_at_first():
    assert method().num_active == 20
    assert method(prototypes_per_known=4).num_active == 8
    assert method(7).num_active == 7
