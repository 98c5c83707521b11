"""What the processes of a test do; each comes out the same when it is called in one process."""

import io
import os
import sys
from functools import partial

import torch
from owdfa.training.fabric import start
from torch import distributed, nn
from torch.nn import functional

from owdfa.devices import seed_step
from owdfa.distributed import average_gradients, joined, own_share, whole_batch
from owdfa.methods.base import method_type
from owdfa.records.training import Batch, Progress
from owdfa.training.launch import launch
from small_networks import backbone, batch

SIZES = (8, 7, 2, 3)  # of the batches: with 3 processes, one of them has no image of the third
LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def together(function, num, *arguments):
    """What ``function`` says in the first of ``num`` processes."""
    heard = []
    launch(partial(_in_each, function, *arguments), num, heard.append)
    (answer,) = heard
    return torch.load(io.BytesIO(answer))


def alone(function, *arguments):
    """What it says in this process."""
    return function(*arguments)


def _in_each(function, *arguments):
    *arguments, tell = arguments
    start("cpu", "32-true", together=True)
    stream = io.BytesIO()  # a tensor itself would be gone with its process
    torch.save(function(*arguments), stream)
    tell(stream.getvalue())


def own_rows(whole):
    """The batch as this process is given it."""
    rows = own_share().rows(len(whole.labels))
    return Batch(tuple(view[rows] for view in whole.views), whole.labels, whole.rows)


def method_steps(name):
    """Train a method for some steps; everything that each step leaves, as float64."""
    torch.manual_seed(0)
    own = method_type(name)
    method = own(Normalised(backbone()), 3, None, own.settings_type()).double()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    seen = []
    for epoch in (5, 6):  # CAL's reinforcement is under way
        for step, size in enumerate(SIZES):
            seed_step(0, epoch, step)
            made = batch(LABELS[:size], 10 * epoch + step)
            views = tuple(view.double() for view in made.views)
            made = own_rows(Batch(views, made.labels, made.rows))
            with whole_batch(size):
                losses = method.losses(made, Progress(epoch, 7))
            optimizer.zero_grad()
            losses.total.backward()
            average_gradients(method)
            optimizer.step()
            gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.requires_grad}
            buffers = {n: b.clone() for n, b in method.named_buffers()}
            terms = {"total": losses.total.detach(), "logits": losses.logits}
            terms |= {n: term.detach() for n, term in losses.terms.items()}
            seen.append({**terms, **gradients, **buffers})
        end = method.end_epoch(Progress(epoch, 7))
        seen.append({"live": torch.tensor(method.num_active), **_tensors(end.log)})
        seen.append({n: value.clone() for n, value in method.state_dict().items()})
    return seen


def Normalised(made):
    """A backbone with batch normalisation over maps, as real ones have."""
    made.network.append(nn.BatchNorm2d(made.channels))
    return made


def _tensors(log):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in log.items()}


def layer_steps(form, dtype, affine):
    """Batch normalisation, dropout and their gradients for batches of all sizes.

    ``joined`` feeds a loss that no mean over shares could give, and a penalty that does not pass
    through it.
    """
    seen = []
    for size in SIZES:
        torch.manual_seed(size)
        shape = (size, 5, 4, 3) if form != "rows" else (size, 5)
        x = (3 * torch.randn(shape) + 40).to(dtype)
        if form == "channels last":
            x = x.contiguous(memory_format=torch.channels_last)
        norm = (
            nn.BatchNorm1d(5, affine=affine) if x.dim() == 2 else nn.BatchNorm2d(5, affine=affine)
        )
        exact = torch.promote_types(dtype, torch.float32)
        norm = norm.to(exact)
        scale = nn.Parameter(torch.rand(5, dtype=exact))
        net = nn.ParameterList([scale])
        own = x[own_share().rows(size)].clone().requires_grad_()
        with whole_batch(size):
            y = norm(own) if x.dim() == 2 else norm(own).flatten(2).square().sum(2)
            whole = joined(functional.dropout(y, 0.3) * scale.to(y.dtype))
        loss = entropy(whole.to(exact))
        (loss + scale.square().sum()).backward()
        average_gradients(net)
        with whole_batch(size):
            # Of the own rows, times the number of processes: see ``joined``.
            gradient = joined(own.grad) / own_share().num
        seen.append([whole.detach(), gradient, scale.grad, norm.running_mean, norm.running_var])
    return seen


def entropy(logits):
    """Something that no sum over images gives."""
    return logits.softmax(1).mean(0).square().sum() + logits.logsumexp(0).sum()


def say_one(tell):
    """Nothing but a message."""
    tell(1)


def say_who_and_wait(tell):
    """Tell both processes, and work until one of them is gone."""
    start("cpu", "32-true", together=True)
    pids = [None] * own_share().num
    distributed.all_gather_object(pids, os.getpid())
    tell(pids)
    joined_for_ever()


def fail(tell):
    """Let the second process find something the user can mend, and the first wait for it."""
    from owdfa.errors import UserError

    start("cpu", "32-true", together=True)
    if own_share().rank == 1:
        raise UserError("a disk is full")
    joined_for_ever()


def break_down(tell):
    """A bug in the second process."""
    start("cpu", "32-true", together=True)
    if own_share().rank == 1:
        sys.stderr = io.StringIO()  # the traceback is wanted, but not in a test's output
        raise KeyError("bug")
    joined_for_ever()


def joined_for_ever():
    """Work with the others until one of them is gone."""
    from owdfa.distributed import naming_a_lost_process

    with naming_a_lost_process():
        while True:
            with whole_batch(4):
                joined(torch.ones(4)[own_share().rows(4)])
