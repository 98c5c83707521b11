"""What makes training fast: order of memory, ways to convolve, a compiled backbone, algorithms.

None of it changes what is computed, all of it how sums are ordered: results differ by rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from owdfa.distributed import own_share
from owdfa.errors import UserError
from owdfa.methods.base import Method
from owdfa.runs.settings import RunSettings
from owdfa.training.convolutions import quicken
from owdfa.training.devices import deterministic
from owdfa.training.memory import keep_memory


@contextmanager
def algorithms(*, same_bits: bool) -> Iterator[None]:
    """Choose algorithms: those that give the same bits every time, or the fastest.

    The fastest are found by trial when a shape is seen first, and may differ from run to run; a
    run that was stopped and resumed then agrees with one that was not up to rounding.
    """
    if same_bits:
        with deterministic():
            yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def make_fast(method: Method, settings: RunSettings, device: torch.device) -> None:
    """Prepare ``method``, which is on ``device``, as ``settings`` ask for.

    Raises:
        UserError: They ask to compile, and there are several processes.
    """
    arrange(method)
    if device.type == "cpu":
        keep_memory()
        if settings.precision == "32-true":
            quicken(method.backbone, compiled=settings.compile)
    if settings.compile:
        compile_backbone(method, settings.data.batch_size)


def arrange(method: nn.Module) -> None:
    """Keep the weights of convolutions with their channels last, and so all maps between them.

    Tensor cores read them so; on a CPU a ResNet takes a fifth less time.
    """
    method.to(memory_format=torch.channels_last)


def compile_backbone(method: Method, batch_size: int, backend: str = "inductor") -> None:
    """Compile the backbone for the full batches of training; all else runs as before.

    A last batch that is smaller, and prediction, would each cost a compilation of a minute. The
    head stays outside: its number of prototypes changes from epoch to epoch. Names of weights
    stay as they are.

    Args:
        method: Its backbone is changed in place.
        batch_size: Of a full batch.
        backend: Of ``torch.compile``; ``"aot_eager"`` only traces, and is quick.

    Raises:
        UserError: There are several processes.
    """
    if own_share().num > 1:
        raise UserError("compile: one process compiles, several do not; set compile=false")
    network = method.backbone.network
    plain = network.forward
    compiled = torch.compile(plain, dynamic=False, backend=backend)

    def forward(images: Tensor) -> Tensor:
        whole = network.training and len(images) == batch_size
        features: Tensor = (compiled if whole else plain)(images)
        return features

    network.forward = forward
