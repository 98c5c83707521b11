import copy
import io
import math

import pytest
import torch
from torch import nn

from owdfa.records.training import Progress, RowMove
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings
from owdfa.training.optimizer import build_optimizer, learning_rate, move_rows

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


def steps(optimizer, parameter, targets):
    for _ in range(3):
        optimizer.zero_grad()
        ((parameter - targets) ** 2 * torch.arange(1, 4)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_does_not_notice_that_its_rows_moved(name):
    order = torch.tensor([3, 0, 4, 1, 2])
    start, targets = torch.randn(5, 3), torch.randn(5, 3)
    still, moving = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [OPTIMIZERS[name]([p]) for p in (still, moving)]
    for optimizer, parameter in zip(optimizers, (still, moving), strict=True):
        steps(optimizer, parameter, targets)

    moving.data = moving.data[order]
    move_rows(optimizers[1], RowMove(moving, order))
    steps(optimizers[0], still, targets)
    steps(optimizers[1], moving, targets[order])

    assert torch.equal(moving, still[order])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_died_are_forgotten_and_stay_zero(name):
    parameter = nn.Parameter(torch.randn(5, 3))
    optimizer = OPTIMIZERS[name]([parameter])
    steps(optimizer, parameter, torch.randn(5, 3))
    kept = {k: v[[4, 1]].clone() for k, v in optimizer.state[parameter].items() if v.dim()}

    with torch.no_grad():
        parameter[:2] = parameter[[4, 1]]
        parameter[2:] = 0
    move_rows(optimizer, RowMove(parameter, torch.tensor([4, 1])))
    for key, rows in kept.items():
        state = optimizer.state[parameter][key]
        assert torch.equal(state[:2], rows)
        assert not state[2:].any()

    optimizer.zero_grad()
    (parameter[:2] ** 2).sum().backward()
    optimizer.step()
    assert not parameter[2:].any()


def test_an_optimizer_that_has_made_no_step_has_nothing_to_move():
    parameter = nn.Parameter(torch.randn(5, 3))
    optimizer = torch.optim.Adam([parameter])
    move_rows(optimizer, RowMove(parameter, torch.tensor([1, 0])))
    assert not optimizer.state


def reloaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def test_fused_adam_pairs_each_weight_with_its_own_gradient():
    # It goes by memory: where a gradient lay otherwise than its weight, it would mix them up.
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 4, 3, groups=2)
    fused = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second).double()
    fused.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(fused)
    settings = OptimiserSettings(name="adam", lr=0.01, weight_decay=1e-3)
    optimizer = build_optimizer(fused, settings)
    plainly = torch.optim.Adam(plain.parameters(), 0.01, weight_decay=settings.weight_decay)
    for step in range(4):
        if step == 2:  # a run that is resumed
            fused.load_state_dict(reloaded(fused.state_dict()))
            state = reloaded(optimizer.state_dict())
            optimizer = build_optimizer(fused, settings)
            optimizer.load_state_dict(state)
        views = torch.randn(2, 4, 3, 9, 9, dtype=torch.float64)
        for network, each in ((fused, optimizer), (plain, plainly)):
            each.zero_grad()
            sum(network(view).square().mean() for view in views).backward()
            each.step()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "settings", "kind", "expected"),
    [
        ("adam", {}, torch.optim.Adam, {"fused": True}),
        ("adamw", {}, torch.optim.AdamW, {"fused": True}),
        ("sgd", {"momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_the_optimiser_is_that_of_the_settings_and_of_what_is_trained(
    name, settings, kind, expected
):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[1].bias.requires_grad_(False)
    chosen = OptimiserSettings(name=name, lr=0.3, weight_decay=0.01, **settings)
    optimizer = build_optimizer(net, chosen)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {"lr": 0.3, "weight_decay": 0.01, **expected}.items() <= group.items()
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"name": "constant", "every": 2, "gamma": 0.1}, [1, 1, 1, 1, 1]),
        ({"name": "step", "every": 2, "gamma": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
        ({"name": "step"}, [1, 1, 1, 1, 1]),
        (
            {"name": "cosine", "gamma": 0.2},
            [0.2 + 0.8 * (1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(5)],
        ),
    ],
)
def test_the_rate_follows_the_schedule(settings, factors):
    optimiser = OptimiserSettings(name="adam", lr=0.3)
    schedule = ScheduleSettings(**settings)
    rates = [learning_rate(optimiser, schedule, Progress(epoch, 5)) for epoch in range(5)]
    assert rates == pytest.approx([0.3 * factor for factor in factors])


def test_a_cosine_schedule_begins_at_the_rate_and_would_end_at_its_share():
    optimiser = OptimiserSettings(name="sgd", lr=2.0)
    schedule = ScheduleSettings(name="cosine", gamma=0.25)
    assert learning_rate(optimiser, schedule, Progress(0, 8)) == 2.0
    assert learning_rate(optimiser, schedule, Progress(4, 8)) == pytest.approx(2 * 0.625)
    assert learning_rate(optimiser, schedule, Progress(8, 8)) == pytest.approx(0.5)
