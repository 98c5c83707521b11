"""The same training as a plain author writes it, on the same device.

Files decoded and altered image by image in worker processes; fp32 and the default order of memory;
the frequency enhancement by an FFT; every statistic fetched at once by ``.item()``; all logits of
an epoch kept. torch's defaults stand, TF32 in convolutions among them.
"""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.baseline.cal import PlainTraining
from benchmarks.baseline.network import PlainNetwork
from benchmarks.baseline.reading import Images as Files
from benchmarks.on_gpu.data import NUM_KNOWN, Images
from benchmarks.on_gpu.ours import finish
from owdfa.backbones.base import build
from owdfa.runs.settings import RunSettings


class Labelled(Dataset[tuple[Tensor, Tensor, int]]):
    """Views and label of each row."""

    def __init__(self, views: Dataset[Any], labels: np.ndarray) -> None:
        self.views = views
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        weak, strong = self.views[row]
        return weak, strong, int(self.labels[row])


def nobody(image: np.ndarray) -> list[Any]:  # noqa: ARG001
    """Find no face, in no time."""
    return []


class Plain:
    """The plain training; ``steps`` goes on with it.

    Args:
        images: To train on.
        settings: Of the run.
        device: Where.
        workers: Processes that read.
    """

    def __init__(
        self, images: Images, settings: RunSettings, device: torch.device, workers: int
    ) -> None:
        self.device, self.size = device, settings.data.batch_size
        self.detects = find_spec("dlib") is not None
        options = {} if self.detects else {"detector": nobody}
        files = Files(images.files, settings.data.views.size, **options)
        self.loader = DataLoader(
            Labelled(files, np.asarray(images.rows.labels)),
            batch_size=self.size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        torch.manual_seed(0)
        network = plain_network(settings).to(device)
        rates = {"lr": settings.optimiser.lr, "weight_decay": settings.optimiser.weight_decay}
        optimizer = torch.optim.Adam(network.parameters(), **rates)
        self.training = PlainTraining(network, optimizer, NUM_KNOWN, settings.epochs, 0.9)
        self.training.network.train()
        self._batches = self._forever()

    def _forever(self) -> Iterator[list[Tensor]]:
        while True:
            yield from self.loader

    def read(self, num: int) -> float:
        """Seconds in which ``num`` batches are read, once what lay ready is used up."""
        for _ in range(1 + 2 * self.loader.num_workers):
            next(self._batches)
        started = time.perf_counter()
        for _ in range(num):
            next(self._batches)
        return time.perf_counter() - started

    def batch(self) -> list[Tensor]:
        """The next batch, on the device."""
        return [each.to(self.device, non_blocking=True) for each in next(self._batches)]

    def steps(self, batch: list[Tensor], num: int) -> float:
        """Seconds of ``num`` steps on a batch that is on the device already."""
        finish(self.device)
        started = time.perf_counter()
        for _ in range(num):
            self.training.step(*batch, self.training.epochs - 2)
        finish(self.device)
        return time.perf_counter() - started


def plain_network(settings: RunSettings) -> PlainNetwork:
    """Of the same backbone as ours; of timm's ResNet-50 torchvision has the same layers."""
    name = settings.backbone.name
    channels, model = build(name, None).channels, name
    if name.startswith("timm/"):
        model = "torchvision/" + name.removeprefix("timm/").partition(".")[0]
    return PlainNetwork(model, channels, 10 * NUM_KNOWN, 0.2)
