"""The same training as a plain author writes it, on the same device.

Files decoded and altered image by image in worker processes; fp32 and the default order of memory;
the frequency enhancement by an FFT; every statistic fetched at once by ``.item()``; all logits of
an epoch kept. torch's defaults stand, TF32 in convolutions among them.
"""

import math
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset

from benchmarks.baseline.frequency import PlainEnhancement
from benchmarks.on_gpu.data import NUM_KNOWN, Images
from benchmarks.on_gpu.ours import finish
from owdfa.backbones.base import build
from owdfa.records.training import UNLABELLED
from owdfa.runs.settings import RunSettings


class PlainNetwork(nn.Module):
    """Backbone, frequency enhancement, pooling, BNNeck, dropout, prototypes."""

    def __init__(self, backbone: str, num_classes: int) -> None:
        super().__init__()
        library, _, model = backbone.partition("/")
        if library == "timm":
            self.backbone: nn.Module = timm.create_model(model, num_classes=0, global_pool="")
            channels = self.backbone.num_features
        else:  # at toy size
            self.backbone = build(backbone, None)
            channels = self.backbone.channels
        self.ffe = PlainEnhancement()
        self.norm = nn.BatchNorm1d(channels)
        self.norm.bias.requires_grad_(False)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(channels, num_classes, bias=False)
        nn.init.normal_(self.head.weight, std=0.001)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of (B, 3, H, W)."""
        maps = self.ffe(images, self.backbone(images))
        return self.head(self.dropout(self.norm(maps.mean(dim=(2, 3)))))


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
        from benchmarks.baseline.reading import Images as Files

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
        self.network = PlainNetwork(settings.backbone.name, 10 * NUM_KNOWN).to(device)
        rates = {"lr": settings.optimiser.lr, "weight_decay": settings.optimiser.weight_decay}
        self.optimizer = torch.optim.Adam(self.network.parameters(), **rates)
        self.kept: list[Tensor] = []
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
            self.step(*batch)
        finish(self.device)
        return time.perf_counter() - started

    def step(self, weak: Tensor, strong: Tensor, labels: Tensor) -> dict[str, float]:
        """One step; the statistics of it."""
        self.network.train()
        z_weak, z_strong = self.network(weak), self.network(strong)
        terms = plain_terms(z_weak, z_strong, labels)
        loss = terms["ce"] + terms["r"] + terms["acr"] + 0.2 * terms["ccr"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.kept.append(z_weak.detach().cpu())
        return {name: term.item() for name, term in (*terms.items(), ("loss", loss))}


def plain_terms(
    weak: Tensor, strong: Tensor, labels: Tensor, progress: float = 0.9, bar: float = 0.9
) -> dict[str, Tensor]:
    """The four terms of CAL, for a bar that is the same for known and novel classes."""
    labelled = labels != UNLABELLED
    both, num_classes = torch.cat([weak, strong]), weak.shape[1]
    ce = weak.sum() * 0
    if labelled.any():
        ce = cross_entropy(both[labelled.repeat(2)], labels[labelled].repeat(2))
    mean = softmax(both, dim=1).mean(dim=0)
    r = (math.log(num_classes) + (mean * mean.log()).sum()) / 2
    target = softmax(weak.detach() / 0.1, dim=1)
    sure = target.max(dim=1).values
    weight = (1 - progress) * sure + progress * (1 - sure)
    ccr = (weight * -(target * log_softmax(strong, dim=1)).sum(dim=1)).mean()
    confidence, guess = softmax(weak.detach(), dim=1).max(dim=1)
    kept = ~labelled & (confidence >= bar)
    acr = cross_entropy(weak[kept], guess[kept]) if kept.any() else weak.sum() * 0
    return {"ce": ce, "r": r, "acr": acr, "ccr": ccr}
