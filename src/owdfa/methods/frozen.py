"""Frozen features, whitened, and semi-supervised k-means: nothing is trained, one fit.

Page: docs/methods/frozen.md, with the protocol by which its numbers were chosen.

    L = sum over images of |u(x) - c(x)|^2,    u(x) = unit length of M (x - m)

x   features of an image, the same at all times: ``owdfa.backbones.frozen``, or of any network.
M   principal components, whitened by the within-class covariance of the labelled known images, so
    that what differs within a class (content) no longer counts, and reduced again.
c   centre of the image's class. A labelled image is held in its class, another goes to the nearest
    centre; k-means as GCD has it (Vaze et al., CVPR 2022).

A new image goes to the nearest centre. Its logits are minus the squared distances times a
sharpness, which decides no assignment, only how sure predictions look. It is fitted by hiding: each
known class in turn loses its labels, and the others half of theirs; what is fitted without them
predicts the images whose label was hidden, and the sharpness at which these are likeliest counts.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy.special import log_softmax
from torch import Tensor
from torch.nn.functional import normalize

from owdfa.backbones.base import Backbone
from owdfa.clustering import Clusters, semi_supervised_kmeans, squared_distances
from owdfa.config import Settings
from owdfa.leave_out import hidden_rounds
from owdfa.methods.base import Method
from owdfa.records.training import Features
from owdfa.whitening import principal_components, unit_length, whitened_components

_SHARPNESS = np.geomspace(0.5, 128, 33)  # tried


class FrozenSettings(Settings):
    """Settings of the fit; how they were chosen: docs/methods/frozen.md."""

    components: int = Field(default=200, ge=1)
    """Principal components that are whitened."""
    dim: int = Field(default=32, ge=1)
    """Length of the embedding."""
    kmeans_starts: int = Field(default=20, ge=1)
    """How often k-means starts anew; the best result counts."""
    kmeans_iterations: int = Field(default=200, ge=1)
    """Most iterations of k-means."""


@final
class Frozen(Method):
    """A linear map of fixed features, and a centre for every class."""

    settings_type = FrozenSettings
    views = ("weak",)
    takes_features = True
    needs_num_classes = True

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: FrozenSettings
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.num_known = num_known
        self.backbone = backbone
        self.shift: Tensor
        self.register_buffer("shift", torch.zeros(backbone.channels))
        self.matrix: Tensor
        self.register_buffer("matrix", torch.zeros(backbone.channels, settings.dim))
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(num_classes, settings.dim))
        self.sharpness: Tensor
        self.register_buffer("sharpness", torch.ones(()))

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return len(self.centres)

    def fit_input(self, images: Float[Tensor, "batch _ h w"]) -> Float[Tensor, "batch features"]:
        """Compute the features x."""
        maps: Tensor = self.backbone(images)[0]
        return maps.mean(dim=(2, 3))

    def features(self, images: Float[Tensor, "batch _ h w"]) -> Features:
        """Compute u(x)."""
        with torch.autocast(images.device.type, enabled=False):
            x = self.fit_input(images).to(self.matrix.dtype)
            return Features(normalize((x - self.shift) @ self.matrix))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings: minus squared distances to the centres times the sharpness."""
        with torch.autocast(features.embedding.device.type, enabled=False):
            unit = features.embedding.to(self.centres.dtype)
            lengths = unit.square().sum(dim=1, keepdim=True) + self.centres.square().sum(dim=1)
            distances = (lengths - 2 * unit @ self.centres.T).clamp(min=0)
            return -self.sharpness * distances

    @torch.no_grad()
    def finish(
        self, embeddings: Float[Tensor, "images features"], labels: Int[Tensor, "images"]
    ) -> None:
        """Fit the map, the centres and the sharpness to the features of the training images."""
        x, given, seed = embeddings.numpy(), labels.numpy(), int(torch.randint(2**31, ()))
        first = principal_components(x, self.settings.components)
        components = first(x)
        map_ = first.then(whitened_components(components, given, self.settings.dim))
        found = self._cluster(unit_length(map_(x)), given, seed)
        fitted = {
            "shift": map_.shift,
            "matrix": map_.matrix,
            "centres": found.centres,
            "sharpness": np.array(self._fit_sharpness(components, given, seed)),
        }
        for name, value in fitted.items():
            self.get_buffer(name).copy_(torch.from_numpy(value))

    def _cluster(self, rows: np.ndarray, labels: np.ndarray, seed: int) -> Clusters:
        return semi_supervised_kmeans(
            rows,
            labels,
            self.num_active,
            seed=seed,
            num_starts=self.settings.kmeans_starts,
            max_iterations=self.settings.kmeans_iterations,
        )

    def _fit_sharpness(self, components: np.ndarray, labels: np.ndarray, seed: int) -> float:
        """The sharpness at which images whose label was hidden are likeliest to be right."""
        surprise = np.zeros(len(_SHARPNESS))
        for hidden in hidden_rounds(labels, seed):
            matrix = whitened_components(components, hidden.visible, self.settings.dim)
            rows = unit_length(components @ matrix)
            found = self._cluster(rows, hidden.visible, seed)
            right = hidden.found_again(labels, found.assigned)
            distances = squared_distances(rows[hidden.held], found.centres)
            for place, sharpness in enumerate(_SHARPNESS):
                own = log_softmax(-sharpness * distances, axis=1)
                surprise[place] -= own[np.arange(len(right)), right].mean()
        return float(_SHARPNESS[surprise.argmin()])
