"""No step on a GPU waits for it, shown without one: its operations run on tensors without content.

What needs a content on the host (``.item()``, an ``if`` on a tensor, a boolean index) cannot run so
at all; what copies from ordinary memory of the host is found by looking at every operation.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from owdfa.images.device_views import Choices, DeviceViews, EpochChoices
from owdfa.images.views import ViewSettings
from owdfa.methods.cal import CAL, CALSettings
from owdfa.methods.supervised import Supervised, SupervisedSettings
from owdfa.records.training import Batch, Progress
from owdfa.training.meter import Meter
from small_networks import backbone

CUDA = torch.device("cuda:0")
COLOURS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


class Waits(Exception):
    """An operation that makes the host wait."""


class Watch(TorchDispatchMode):
    """Refuses copies from the host to the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given, made = (
            [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]
            for values in ((args, kwargs), result)
        )
        from_host = any(each.device.type == "cpu" for each in given)
        if from_host and any(each.device.type == "cuda" for each in made):
            raise Waits(func.name())
        return result


@pytest.fixture
def on_gpu():
    """Let tensors be made on a GPU that is not there."""
    with FakeTensorMode(), torch.device(CUDA):
        yield


def make_batch():
    labels = torch.zeros(6, dtype=torch.int64)
    return Batch((torch.randn(6, 3, 16, 16), torch.randn(6, 3, 16, 16)), labels, labels)


def networks():
    # Without FFE: its matrices are kept from call to call, and must have content.
    yield CAL(backbone(), 3, None, CALSettings(ffe=False))
    yield Supervised(backbone(), 3, None, SupervisedSettings())


def test_a_step_does_not_wait(on_gpu):
    for method in networks():
        optimizer = torch.optim.Adam(
            [p for p in method.parameters() if p.requires_grad], fused=True
        )
        batch, meter = make_batch(), Meter(0)
        for parameter in method.parameters():  # autograd itself would look for the GPU
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # its state is made once
        with Watch():
            meter.add(method.losses(batch, Progress(8, 10)), batch)
            optimizer.step()


def test_views_are_made_without_waiting(on_gpu):
    views = DeviceViews(ViewSettings(size=16, crop_size=18), 18, **COLOURS, device=CUDA)
    flags, factors = torch.zeros(6, dtype=torch.bool), torch.ones(6)
    box = torch.zeros(6, 4, dtype=torch.int64)
    choices = Choices(flags, box, factors, factors, flags)
    pixels = torch.zeros(6, 18, 18, 3, dtype=torch.uint8)
    with Watch():
        weak, strong = views(pixels, EpochChoices(choices, choices))
    assert weak.device == strong.device == CUDA


def test_what_waits_is_found(on_gpu):
    values, host = torch.randn(4), torch.randn(4, device="cpu")
    with pytest.raises(DataDependentOutputException):
        values.sum().item()
    for waiting in (lambda: host.to(CUDA), lambda: values.copy_(host)):
        with pytest.raises(Waits), Watch():
            waiting()
