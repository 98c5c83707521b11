"""A method from outside that is fitted after its training: the nearest class centre decides.

    L = CE + w |maps|^2

One view, a known number of classes, a map and a part beside the embedding, no batch normalisation.
"""

from typing import final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from owdfa.config import Settings
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, Features, Losses


class CentresSettings(Settings):
    weight: float = Field(default=0.01, ge=0)


@final
class Centres(Method):
    settings_type = CentresSettings
    views = ("strong",)
    needs_num_classes = True

    def __init__(self, backbone, num_known, num_classes, settings):
        super().__init__()
        self.backbone = backbone
        self.settings = settings
        self.num_known = num_known
        self.num_classes = num_classes
        self.project = nn.Linear(backbone.channels, 8)
        self.head = nn.Linear(8, num_classes)
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(num_classes, 8))
        self.fits: Tensor  # how often it was fitted
        self.register_buffer("fits", torch.zeros((), dtype=torch.int64))

    @property
    def num_active(self):
        return self.num_classes

    def features(self, images):
        (maps,) = self.backbone(images)
        embedding = self.project(maps.mean(dim=(2, 3)))
        return Features(embedding, (maps,), {"scores": self.head(embedding)})

    def classify(self, features):
        if not self.fits:
            return features.parts["scores"]
        return -(features.embedding[:, None] - self.centres).square().sum(dim=2)

    def objective(self, views, labels, progress):
        (strong,) = views
        scores, (maps,) = strong.parts["scores"], strong.maps
        chosen = labels != UNLABELLED
        ce = cross_entropy(scores[chosen], labels[chosen], reduction="sum") / len(scores)
        size = maps.square().mean()
        terms = {"ce": ce, "size": size}
        return Losses(ce + self.settings.weight * size, terms, scores.detach())

    def finish(self, embeddings, labels):
        """The mean of each known class, and an unlabelled image at random for each novel one."""
        for known in range(self.num_known):
            self.centres[known] = embeddings[labels == known].mean(dim=0)
        free = embeddings[labels == UNLABELLED]
        chosen = torch.randperm(len(free))[: self.num_classes - self.num_known]
        self.centres[self.num_known :] = free[chosen]
        self.fits += 1
