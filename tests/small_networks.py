"""Networks and batches of a size that a test can afford."""

import torch
from torch import nn

from owdfa.backbones.base import Backbone
from owdfa.records.training import UNLABELLED, Batch


def backbone(channels=6):
    """A convolution and a pooling: (B, 3, H, W) to (B, channels, H / 4, W / 4)."""
    network = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4))
    return Backbone("test/small", network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def losses(method, made, progress):
    """What the training loop does with a batch, in one process."""
    views = tuple(method.features(view) for view in made.views)
    return method.objective(views, made.labels, progress)


def batch(labels, seed=0, size=16, num_views=2):
    """Images of which each label has a colour of its own; -1 is of any."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(labels)
    colours = torch.randn(20, 3, 1, 1, generator=torch.Generator().manual_seed(7))
    which = labels.where(labels != UNLABELLED, torch.arange(len(labels)) % 20)
    views = tuple(
        colours[which] + 0.3 * torch.randn(len(labels), 3, size, size, generator=generator)
        for _ in range(num_views)
    )
    return Batch(views, labels, torch.arange(len(labels)))
