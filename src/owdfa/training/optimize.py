"""What makes training faster: memory format, compiled features. Sums may be ordered otherwise."""

import torch
from torch import Tensor

from owdfa.distributed import get_shard
from owdfa.errors import UserError
from owdfa.methods.base import Method
from owdfa.records.training import Features
from owdfa.runs.settings import RunSettings


def optimize_for_training(method: Method, settings: RunSettings) -> None:
    """Prepare ``method``, which is on its device already, as ``settings`` say.

    Raises:
        UserError: They want it compiled, and there are several processes.
    """
    to_channels_last(method)
    if settings.compile:
        compile_features(method, settings.data.batch_size, settings.data.views.size)


def to_channels_last(method: Method) -> None:
    """Store the weights of convolutions with their channels last, and so all maps between them.

    Tensor cores read them so; on a CPU a ResNet takes a fifth less time.
    """
    method.to(memory_format=torch.channels_last)


def compile_features(
    method: Method, batch_size: int, image_size: int, backend: str = "inductor"
) -> None:
    """Compile ``method.features`` for the full batches of training; all else runs as before.

    A last batch that is smaller, and prediction, would each cost a compilation of a minute. What
    follows the features stays outside: the number of active prototypes changes between epochs.

    Args:
        method: Changed in place; names of weights stay as they are.
        batch_size: Of a full batch.
        image_size: Side of the images in pixels.
        backend: Of ``torch.compile``; ``"aot_eager"`` only traces, and is quick.

    Raises:
        UserError: There are several processes.
    """
    if get_shard().num > 1:
        raise UserError("compile: one process compiles, several do not; set compile=false")
    eager = method.features
    device = method.backbone.scale.device
    was_training = method.training
    with torch.no_grad():  # makes the buffers that depend on the size of images
        method.eval().features(torch.zeros(2, 3, image_size, image_size, device=device))
    method.train(was_training)
    compiled = torch.compile(eager, dynamic=False, backend=backend)

    def features(images: Tensor) -> Features:
        full = method.training and len(images) == batch_size
        found: Features = (compiled if full else eager)(images)
        return found

    method.features = features  # type: ignore[method-assign]
