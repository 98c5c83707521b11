"""A method in memory, on any device: the engine for GPUs, for bfloat16, and in training."""

from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import final

import numpy as np
import torch
from torch import Tensor

from owdfa.devices import algorithms, autocast, find_device
from owdfa.inference.frozen_features import as_images
from owdfa.inference.session import FEW, BatchOutput, no_ratios
from owdfa.loading.views import Pixels, PlainView
from owdfa.methods.base import Method
from owdfa.records.provenance import Device, Precision
from owdfa.runs.run import Run


@final
class TorchSession:
    """A method in evaluation mode.

    Args:
        method: On its device.
        view: What it is shown of a crop.
        precision: What to compute in.
        batch_size: Crops to give it at a time.
    """

    def __init__(
        self, method: Method, view: PlainView, precision: Precision, batch_size: int = FEW
    ) -> None:
        self.engine = f"torch {torch.__version__}"
        self.batch_size = batch_size
        self._method, self._view, self._precision = method, view, precision
        self._device = method.backbone.scale.device
        self._turn = Lock()  # one call takes all cores, or the GPU

    def predict_batch(self, crops: Pixels) -> BatchOutput:
        """Predict crops (B, S, S, 3) uint8."""
        return self.predict_images(self._view(crops))

    @torch.inference_mode()
    def predict_images(self, images: Tensor) -> BatchOutput:
        """Predict what the method takes: normalised images, or features of a frozen backbone."""
        # On a CPU each image's numbers are the same anyway, and asking costs two seconds.
        exact = nullcontext() if self._device.type == "cpu" else algorithms(deterministic=True)
        with self._turn, exact, autocast(self._device, self._precision):
            outputs = self._method(images.to(self._device))
            probabilities = outputs.logits.float().softmax(dim=1).cpu().numpy()
            ratios = outputs.log_ratios
            return BatchOutput(
                probabilities,
                outputs.embedding.float().cpu().numpy(),
                no_ratios(probabilities) if ratios is None else ratios.float().cpu().numpy(),
            )


@final
class FeatureSession:
    """The same network, given features (B, F) of its frozen backbone in place of crops."""

    batch_size = 256

    def __init__(self, network: TorchSession) -> None:
        self.engine = network.engine
        self._network = network

    def predict_batch(self, features: np.ndarray) -> BatchOutput:
        """Predict by features that were kept."""
        return self._network.predict_images(as_images(features))


def open_network(folder: Path, device: Device, precision: Precision) -> TorchSession:
    """Start the network of a run folder, of the checkpoint that predicts.

    Raises:
        UserError: The run or its checkpoint is damaged, or the device is not here.
    """
    run, place = Run.open(folder), find_device(device)
    batch_size = run.settings.data.batch_size
    if place.type == "cpu":
        batch_size = min(batch_size, FEW)
    view = PlainView(run.metadata.image_size, run.metadata.mean, run.metadata.std)
    return TorchSession(run.method().to(place), view, precision, batch_size)


def finds_gpu() -> bool:
    """Whether torch can use a GPU of this machine."""
    return find_device("auto").type == "cuda"
