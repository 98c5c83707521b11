"""A method from outside, small and with everything that a resumed run must get right.

Dropout, batch normalisation, a buffer that changes the loss, and rows that change place.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from outside import kill_if_asked
from owdfa.config import Settings
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, EpochEnd, Features, Losses, RowMove


class DriftSettings(Settings):
    pull: float = Field(default=0.5, ge=0)  # of the strong view towards the weak one
    blow_up_at: int = -1  # epoch in which a term becomes infinite


class Drift(Method):
    settings_type = DriftSettings

    def __init__(self, backbone, num_known, num_classes, settings):
        super().__init__()
        self.backbone = backbone
        self.settings = settings
        self.num_known = num_known
        self.width = num_classes or 2 * num_known
        self.first = nn.Linear(48, 12)
        self.norm = nn.BatchNorm1d(12)
        self.rows = nn.Parameter(torch.randn(self.width, 12))
        self.usage: Tensor
        self.register_buffer("usage", torch.zeros(self.width))
        self.warmth: Tensor
        self.register_buffer("warmth", torch.ones(()))

    @property
    def num_active(self):
        return self.width

    def features(self, images):
        cells = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        return Features(self.norm(self.first(cells)))

    def classify(self, features):
        kept = nn.functional.dropout(features.embedding, 0.3, self.training)
        return kept @ self.rows.T

    def objective(self, views, labels, progress):
        kill_if_asked(progress)
        weak, strong = (self.classify(view) for view in views)
        with torch.no_grad():
            self.usage += torch.bincount(weak.argmax(dim=1), minlength=self.width)
        chosen = labels != UNLABELLED
        ce = cross_entropy(weak[chosen], labels[chosen], reduction="sum") / len(weak)
        pull = (weak.detach() - strong).square().mean() * self.warmth
        if progress.epoch == self.settings.blow_up_at:
            pull = pull / 0
        total = ce + self.settings.pull * pull
        return Losses(total, {"ce": ce, "pull": pull}, weak.detach())

    @torch.no_grad()
    def end_epoch(self, progress):
        self.warmth.mul_(0.9)
        novel = self.usage[self.num_known :].argsort(descending=True, stable=True) + self.num_known
        order = torch.cat([torch.arange(self.num_known), novel])
        self.rows.copy_(self.rows[order])
        self.usage.zero_()
        return EpochEnd({"warmth": self.warmth.item()}, (RowMove(self.rows, order),))
