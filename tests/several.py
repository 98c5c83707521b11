"""What the processes of a test do; each comes out the same when it is called in one process."""

import os
import socket
from tempfile import TemporaryDirectory

import torch
from torch import nn

from killing import PROCESSES
from owdfa.devices import seed_step
from owdfa.distributed import (
    all_gather_features,
    all_gather_rows,
    average_gradients,
    barrier,
    get_shard,
    start_process_group,
)
from owdfa.methods.base import build_method, method_type
from owdfa.records.training import Progress
from small_networks import backbone, batch

SIZES = (8, 7, 6)  # of the batches; 3 processes share the second one unevenly
LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def together(function, num, *arguments):
    """What ``function`` returns in each of ``num`` processes that gloo connects."""
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        parts = [
            PROCESSES.Process(target=_part, args=(function, rank, num, port, folder, arguments))
            for rank in range(num)
        ]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        assert [part.exitcode for part in parts] == [0] * num
        return [torch.load(f"{folder}/{rank}", weights_only=False) for rank in range(num)]


def _part(function, rank, num, port, folder, arguments):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    start_process_group(torch.device("cpu"))
    assert get_shard() == (rank, num)
    torch.save(function(*arguments), f"{folder}/{rank}")
    barrier()


def gathered(size):
    """Rows of a batch of ``size`` put together, and the gradient of the own rows."""
    whole = torch.arange(3.0 * size, dtype=torch.float64).reshape(size, 3) + 1
    own = whole[get_shard().rows(size)].clone().requires_grad_()
    rows = all_gather_rows(own, size)
    scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
    net = nn.ParameterList([scale, nn.Parameter(torch.ones(2))])  # the second has no gradient
    logits = all_gather_rows(own * scale, size)
    loss = logits.softmax(0).mean(1).square().sum() + scale.square().sum()  # no sum over images
    loss.backward()
    average_gradients(net)
    assert net[1].grad is None
    # Of the own rows, times the number of processes.
    gradient = all_gather_rows(own.grad, size) / get_shard().num
    return [rows.detach(), logits.detach(), gradient, scale.grad]


def method_steps(name, frozen_norm):
    """Train a method for some steps as the loop does; everything that each step leaves.

    Args:
        name: The method.
        frozen_norm: Whether batch normalisation uses what it has seen, not the batch.
    """
    torch.manual_seed(0)
    own = method_type(name)
    num_classes = 7 if own.needs_num_classes else None
    method = build_method(name, backbone(), 3, num_classes, own.settings_type()).double()
    if frozen_norm:
        for module in method.modules():
            module.train(not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    seen = []
    for epoch in (5, 6):  # CAL's reinforcement is under way
        for step, size in enumerate(SIZES):
            seed_step(0, epoch, step)
            made = batch(LABELS[:size], 10 * epoch + step, size=32, num_views=len(own.views))
            rows = get_shard().rows(size)
            views = [method.features(view.double()[rows]) for view in made.views]
            views = [all_gather_features(view, size) for view in views]
            losses = method.objective(tuple(views), made.labels, Progress(epoch, 7))
            optimizer.zero_grad()
            losses.total.backward()
            average_gradients(method)
            optimizer.step()
            gradients = {
                n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None
            }
            terms = {"total": losses.total.detach(), "logits": losses.logits}
            terms |= {n: term.detach() for n, term in losses.terms.items()}
            seen.append({**terms, **gradients})
        end = method.end_epoch(Progress(epoch, 7))
        log = {n: torch.tensor(value, dtype=torch.float64) for n, value in end.log.items()}
        seen.append({"active": torch.tensor(method.num_active), **log})
        seen.append({n: value.clone() for n, value in method.state_dict().items()})
    return seen
