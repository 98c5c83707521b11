"""A method on a toy backbone and images of 32 pixels: what the rules of a method are tried on."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from owdfa.backbones.base import Backbone
from owdfa.methods.base import Method, build_method, method_type
from owdfa.records.training import UNLABELLED, Batch, Losses, Progress
from owdfa.training.optimizer import move_rows

SIZE = 32
NUM_KNOWN, NUM_CLASSES = 3, 7
LABELS = (0, 1, UNLABELLED, UNLABELLED, 2, UNLABELLED, UNLABELLED, 1)
LATE = Progress(5, 6)
"""The last epoch: what a method does only later in training is under way."""
_STEPS = 3  # an epoch


def toy_backbone(channels: int = 6) -> Backbone:
    """A convolution and a pooling: (B, 3, H, W) to (B, channels, H / 4, W / 4)."""
    network = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4))
    return Backbone("toy/small", network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Subject(NamedTuple):
    """A method that is checked."""

    name: str

    def build(
        self, num_classes: int | None = None, seed: int = 0, num_known: int = NUM_KNOWN
    ) -> Method:
        """Build it, with 3 known classes unless others are asked for, as its declarations say."""
        torch.manual_seed(seed)
        own = method_type(self.name)
        if own.needs_num_classes and num_classes is None:
            num_classes = NUM_CLASSES
        return build_method(self.name, toy_backbone(), num_known, num_classes, own.settings_type())

    @property
    def is_trained(self) -> bool:
        """Whether it has an objective."""
        return method_type(self.name).is_trained()

    def batch(self, labels: Sequence[int] | Tensor = LABELS, seed: int = 0) -> Batch:
        """Make a batch with as many views as the method takes."""
        return toy_batch(labels, seed, SIZE, len(method_type(self.name).views))


def toy_batch(
    labels: Sequence[int] | Tensor, seed: int = 0, size: int = 16, num_views: int = 2
) -> Batch:
    """Make normalised images of which each label has a colour of its own; unlabelled ones any."""
    generator = torch.Generator().manual_seed(seed)
    given = torch.as_tensor(labels)
    colours = torch.randn(20, 3, 1, 1, generator=torch.Generator().manual_seed(7))
    which = given.where(given != UNLABELLED, torch.arange(len(given)) % 20)
    views = tuple(
        colours[which] + 0.3 * torch.randn(len(given), 3, size, size, generator=generator)
        for _ in range(num_views)
    )
    return Batch(views, given, torch.arange(len(given)))


def losses(method: Method, batch: Batch, progress: Progress) -> Losses:
    """Do what the training loop does with a batch, in one process."""
    views = tuple(method.features(view) for view in batch.views)
    return method.objective(views, batch.labels, progress)


@torch.no_grad()
def fit(method: Method, batch: Batch) -> None:
    """Do what follows the last epoch."""
    torch.manual_seed(0)
    method.finish(method.fit_input(batch.views[0]).float(), batch.labels)


def adam(method: Method) -> Adam:
    """Make an optimiser of what is trained."""
    return Adam([each for each in method.parameters() if each.requires_grad], lr=0.01)


def train(
    subject: Subject, method: Method, optimizer: Optimizer, epochs: Iterable[int], of: int = 6
) -> list[float]:
    """Train for some epochs; returns the loss of every step. Fit a method that is not trained."""
    seen: list[float] = []
    if not subject.is_trained:
        fit(method.eval(), subject.batch())
        return seen
    for epoch in epochs:
        method.train()
        for step in range(_STEPS):
            torch.manual_seed(100 * epoch + step)
            found = losses(method, subject.batch(seed=step), Progress(epoch, of))
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            seen.append(found.total.item())
        for move in method.end_epoch(Progress(epoch, of)).moves:
            move_rows(optimizer, move)
    return seen
