"""DATA's terms by hand, its bases and its memory."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.methods.data import (
    DATA,
    DATASettings,
    bases_contrast,
    confident,
    draw_rows,
    nearness,
    orthonormal,
    share_in_span,
    store,
)
from owdfa.records.training import Progress
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from small_networks import backbone, batch, losses
from tiny_data import TINY, make_data

LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def method(num_classes=5, **settings):
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "feature_dim": 8, "num_bases": 3, "memory_size": 4}
    return DATA(backbone(), 3, num_classes, DATASettings(**{**small, **settings}))


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_bases_are_those_of_gram_schmidt():
    vectors = random(4, 6)
    rows = []
    for vector in vectors.tolist():
        for row in rows:
            share = dot(vector, row)
            vector = [v - share * r for v, r in zip(vector, row, strict=True)]
        rows.append([v / math.hypot(*vector) for v in vector])
    torch.testing.assert_close(orthonormal(vectors), torch.tensor(rows, dtype=torch.float64))


def test_bases_stay_orthonormal_in_training():
    net = method()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for step in range(5):
        basis = orthonormal(net.bases)
        torch.testing.assert_close(basis @ basis.T, torch.eye(3), atol=1e-5, rtol=0)
        optimizer.zero_grad()
        losses(net, batch(LABELS, step), Progress(step, 5)).total.backward()
        assert net.bases.grad.any()
        optimizer.step()


def test_contrast_of_bases_by_hand():
    first, second, basis = random(5, 6), random(5, 6, seed=1), orthonormal(random(3, 6, seed=2))
    components = []
    for view in (first, second):
        mean = [sum(column) / 5 for column in view.T.tolist()]
        mean = [math.sqrt(3) * m / math.hypot(*mean) for m in mean]
        components.append([[dot(mean, row) * o for o in row] for row in basis.tolist()])
    terms = []
    for t, own in enumerate(components[0]):
        powers = [math.exp(dot(own, other) / 0.1) for other in components[1]]
        terms.append(-math.log(powers[t] / sum(powers)))
    found = bases_contrast(first, second, basis, 0.1)
    assert found.item() == pytest.approx(sum(terms) / 3)


def test_contrast_of_bases_is_least_where_all_carry_the_same_in_both_views():
    basis = orthonormal(random(3, 6))
    even = basis.sum(dim=0).expand(4, 6)
    least = bases_contrast(even, even, basis, 0.1).item()
    assert least == pytest.approx(math.log(1 + 2 * math.exp(-10)))
    for other in (basis[:2].sum(dim=0).expand(4, 6), -even):
        assert bases_contrast(even, other, basis, 0.1).item() > least + 0.1


def test_share_in_the_span_by_hand():
    basis, rows = orthonormal(random(3, 6)), normalize(random(4, 6, seed=1))
    shares = [sum(dot(row, o) ** 2 for o in basis.tolist()) for row in rows.tolist()]
    assert share_in_span(rows, basis).item() == pytest.approx(sum(shares) / 4)
    assert share_in_span(basis, basis).item() == pytest.approx(1)
    beside = normalize(rows - rows @ basis.T @ basis)
    assert share_in_span(beside, basis).item() == pytest.approx(0)


def test_which_guesses_are_believed_by_hand():
    logits, labels = 3 * random(40, 5), torch.tensor(LABELS * 5)
    classes, chosen = confident(logits, labels, 3)
    probabilities = logits.softmax(dim=1).tolist()
    guesses = [max(range(5), key=row.__getitem__) for row in probabilities]
    novel = [
        max(row)
        for row, label, guess in zip(probabilities, labels.tolist(), guesses, strict=True)
        if label < 0 and guess >= 3
    ]
    threshold = sum(novel) / len(novel)
    for i, (label, guess) in enumerate(zip(labels.tolist(), guesses, strict=True)):
        assert classes[i] == (label if label >= 0 else guess)
        assert chosen[i] == (label >= 0 or (guess >= 3 and max(probabilities[i]) >= threshold))
    assert 0 < (chosen & (labels < 0)).sum() < len(novel)


def test_memory_by_hand():
    size, dim, classes = 3, 2, 4
    memory, stored = torch.zeros(classes, size, dim), torch.zeros(classes, dtype=torch.int64)
    expected = [[[0.0, 0.0]] * size for _ in range(classes)]
    given = [0] * classes
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        rows = torch.randn(7, dim, generator=generator)
        which = torch.randint(3, (7,), generator=generator)
        chosen = torch.rand(7, generator=generator) < 0.6
        memory, stored = store(memory, stored, rows, which, chosen)
        for row, k, kept in zip(rows.tolist(), which.tolist(), chosen.tolist(), strict=True):
            if kept:
                expected[k][given[k] % size] = row
                given[k] += 1
        assert stored.tolist() == given
        torch.testing.assert_close(memory, torch.tensor(expected))
        assert memory.shape == (classes, size, dim)
    assert given[3] == 0


def test_of_more_than_fit_the_last_are_kept():
    memory, stored = torch.zeros(1, 2, 1), torch.zeros(1, dtype=torch.int64)
    rows = torch.arange(5.0)[:, None]
    memory, stored = store(
        memory, stored, rows, torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.bool)
    )
    assert sorted(memory.flatten().tolist()) == [3, 4]
    assert stored.tolist() == [5]


def test_only_rows_that_are_there_are_drawn():
    memory = torch.zeros(2, 4, 1)
    memory[0, :3, 0] = torch.tensor([1.0, 2.0, 3.0])
    classes = torch.zeros(200, dtype=torch.int64)
    found = draw_rows(memory, torch.tensor([3, 0]), classes)
    assert set(found.flatten().tolist()) == {1, 2, 3}
    assert not draw_rows(memory, torch.tensor([3, 0]), classes + 1).any()


def test_nearness_to_the_centres_by_hand():
    rows, memory = normalize(random(4, 6)), normalize(random(3, 2, 6, seed=1), dim=2)
    memory[1, 1] = 0  # one row alone
    memory[2] = 0  # none
    found = nearness(rows, memory, 0.1)
    for i, row in enumerate(rows.tolist()):
        for k in (0, 1):
            centre = [sum(column) for column in memory[k].T.tolist()]
            assert found[i, k].item() == pytest.approx(dot(row, centre) / math.hypot(*centre) / 0.1)
    assert (found[:, 2] < -1000).all()
    assert nearness(rows, torch.zeros(3, 2, 6, dtype=torch.float64), 0.1).isfinite().all()


def test_objective_is_the_weighted_sum_and_memory_terms_are_by_hand(monkeypatch):
    net = method(bases_weight=0.3, memory_weight=0.7, prior_weight=2.0).double()
    images = batch(LABELS)
    views = tuple(net.features(view.double()) for view in images.views)
    nothing = net.objective(views, images.labels, Progress(0, 2))
    assert nothing.terms["mix"].item() == nothing.terms["centre"].item() == 0  # nothing remembered
    classes, chosen = confident(net.classify(views[0]).detach(), images.labels, 3)
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.full(shape, 0.5, **kind))
    terms = net.losses(views, images.labels, classes, chosen).terms
    mix, centre = [], []
    for view in views:
        for row, k, believed in zip(
            normalize(view.embedding), classes.tolist(), chosen.tolist(), strict=True
        ):
            if not believed:
                continue
            num = min(int(net.stored[k]), 4)
            mixed = 0.75 * row + 0.25 * net.memory[k, num // 2]
            logits = net.classifier(mixed[None])[0]
            mix.append((logits.logsumexp(dim=0) - logits[k]).item())
            near = nearness(row[None], net.memory, 0.1)[0]
            centre.append((near.logsumexp(dim=0) - near[k]).item())
    assert terms["mix"].item() == pytest.approx(sum(mix) / len(mix))
    assert terms["centre"].item() == pytest.approx(sum(centre) / len(centre))
    total = net.losses(views, images.labels, classes, chosen).total
    expected = (
        terms["ce"]
        + 2.0 * terms["r"]
        + 0.3 * (terms["bases"] + terms["orth"])
        + 0.7 * (terms["mix"] + terms["centre"])
    )
    assert total.item() == pytest.approx(expected.item())


def test_what_is_remembered_is_of_length_1_and_without_gradient():
    net = method()
    for step in range(3):
        losses(net, batch(LABELS, step), Progress(0, 1))
    lengths = net.memory.norm(dim=2)
    for k, num in enumerate(net.stored.clamp(max=4).tolist()):
        torch.testing.assert_close(lengths[k, :num], torch.ones(num))
        assert not lengths[k, num:].any()
    assert net.stored[:3].tolist() == [3, 6, 3]  # known classes by their labels alone
    assert not net.memory.requires_grad


def test_bases_that_cannot_be_orthogonal_are_refused():
    with pytest.raises(UserError, match=r"num_bases: 9 vectors of 8 numbers.*set fewer"):
        method(num_bases=9)


def test_a_resumed_run_is_the_same_and_predicts_by_its_graph(tmp_path):
    data = make_data(tmp_path / "data")
    small = ["hidden_dim=16", "feature_dim=8", "num_bases=3", "memory_size=4"]
    overrides = [*TINY, "method.name=data", "classes=4", *(f"method.{each}" for each in small)]
    settings = load_settings(None, None, [*overrides, "epochs=2", "onnx=true"])
    whole = train(data.split, tmp_path / "whole", settings=settings)

    class Stop(Exception):
        pass

    def stop(done, total, _note=""):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        train(data.split, tmp_path / "resumed", settings=settings, on_progress=stop)
    resumed = train(data.split, tmp_path / "resumed", resume=True)
    one, other = (checkpoint.read_weights(each.checkpoint) for each in (whole, resumed))
    assert one["stored"].sum() > 0
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.metadata.model_error is None
    assert Predictor.open(whole.folder).session.engine.startswith("onnxruntime ")
    assert whole.metadata.provenance.reconstruction
