"""GCD: generalized category discovery (Vaze, Han, Vedaldi, Zisserman, CVPR 2022).

Paper: https://arxiv.org/abs/2201.02609. Page: docs/methods/gcd.md.

    L = 0.65 UCon + 0.35 SCon

UCon   InfoNCE between the projections of two views of every image.
SCon   supervised contrast between the projections of labelled images.
There is no classifier. After the last epoch, semi-supervised k-means over the embeddings of all
training images, scaled to length 1, gives a centre for every class; labelled images are held in
theirs. A new image goes to the nearest centre: its logits are minus the squared distances over a
temperature, which decides how sure predictions look, and no assignment.

Until then the centre of a known class is the mean over the labelled images of the last epoch, so
that a checkpoint can be chosen by validation, and the centre of a novel class is 0.

Differs from the authors' release (generalized-category-discovery, 831a645):
* new images are assigned to the centres; the release scores the training images that it clustered;
* k-means stops when no assignment changes (in the release, when centres move by less than 0.01 in
  all), and a centre that lost all its images stays where it was (in the release it is not a
  number);
* the backbone is any of the catalogue, trained whole (in the release a ViT of which the last block
  is trained), and each view goes through it by itself;
* without labelled images in a batch SCon is 0 (in the release it is not a number).
"""

from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from owdfa.backbones.base import Backbone
from owdfa.clustering import semi_supervised_kmeans
from owdfa.config import Settings
from owdfa.layers import CosineClassifier, ProjectionHead
from owdfa.losses import contrastive, supervised_contrastive
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, EpochEnd, Features, Losses, Progress


class GCDSettings(Settings):
    """Settings of GCD; the defaults are those of the authors' release."""

    supervised_weight: float = Field(default=0.35, ge=0, le=1)
    """Weight of SCon; UCon has 1 minus this."""
    contrastive_temperature: float = Field(default=1.0, gt=0)
    """Temperature of UCon."""
    supervised_contrastive_temperature: float = Field(default=0.07, gt=0)
    """Temperature of SCon."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projection head's hidden layers."""
    bottleneck_dim: int = Field(default=256, ge=1)
    """Length of what the hidden layers make."""
    projection_dim: int = Field(default=256, ge=1)
    """Length of what is contrasted: cosines of the bottleneck with as many vectors (65,536 in the
    release, as in the full-size recipes)."""
    kmeans_starts: int = Field(default=100, ge=1)
    """How often k-means starts anew; the best result counts."""
    kmeans_iterations: int = Field(default=200, ge=1)
    """Most iterations of k-means."""
    temperature: float = Field(default=0.1, gt=0)
    """What squared distances to the centres are divided by in a prediction; ours."""


@final
class GCD(Method):
    """A projection head on the pooled feature map, and a centre for every class."""

    settings_type = GCDSettings
    takes_features = True
    views = ("strong", "strong")
    needs_num_classes = True

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: GCDSettings
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.backbone = backbone
        dim, bottleneck = backbone.channels, settings.bottleneck_dim
        last = CosineClassifier(settings.projection_dim, bottleneck, temperature=1.0)
        self.head = nn.Sequential(ProjectionHead(dim, settings.hidden_dim, bottleneck), last)
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(num_classes, dim))
        self.class_sums: Tensor  # of this epoch's labelled embeddings, of length 1
        self.register_buffer("class_sums", torch.zeros(num_known, dim))
        self.class_counts: Tensor
        self.register_buffer("class_counts", torch.zeros(num_known))

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return len(self.centres)

    def features(self, images: Float[Tensor, "batch _ h w"]) -> Features:
        """Compute the mean of the feature map over its places."""
        (maps,) = self.backbone(images)
        return Features(maps.mean(dim=(2, 3)))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings: minus squared distances to the centres over the temperature."""
        with torch.autocast(features.embedding.device.type, enabled=False):
            unit = normalize(features.embedding.to(self.centres.dtype))
            lengths = unit.square().sum(dim=1, keepdim=True) + self.centres.square().sum(dim=1)
            distances = (lengths - 2 * unit @ self.centres.T).clamp(min=0)
            return -distances / self.settings.temperature

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of both views."""
        self._observe(views[0].embedding, labels)
        first, second = (self.head(view.embedding) for view in views)
        found = self.losses(first, second, labels)
        with torch.no_grad():
            return found._replace(logits=self.classify(views[0]).detach())

    def losses(
        self,
        first: Float[Tensor, "batch dim"],
        second: Float[Tensor, "batch dim"],
        labels: Int[Tensor, "batch"],
    ) -> Losses:
        """Compute L from the projections of both views; the logits are left empty."""
        settings = self.settings
        ucon = contrastive(first, second, settings.contrastive_temperature)
        temperature = settings.supervised_contrastive_temperature
        scon = supervised_contrastive(first, second, labels, temperature)
        share = settings.supervised_weight
        total = (1 - share) * ucon + share * scon
        return Losses(total, {"ucon": ucon, "scon": scon}, first.new_empty(len(labels), 0))

    @torch.no_grad()
    def end_epoch(self, progress: Progress) -> EpochEnd:  # noqa: ARG002
        """Take the epoch's class means as centres of the known classes."""
        seen = (self.class_counts > 0)[:, None]
        means = self.class_sums / self.class_counts.clamp(min=1)[:, None]
        known = self.centres[: len(means)]
        known.copy_(torch.where(seen, means, known))
        self.class_sums.zero_()
        self.class_counts.zero_()
        return EpochEnd({})

    @torch.no_grad()
    def finish(
        self, embeddings: Float[Tensor, "images dim"], labels: Int[Tensor, "images"]
    ) -> None:
        """Fit the centres of all classes to the training images."""
        found = semi_supervised_kmeans(
            normalize(embeddings).numpy(),
            labels.numpy(),
            self.num_active,
            seed=int(torch.randint(2**31, ())),
            num_starts=self.settings.kmeans_starts,
            max_iterations=self.settings.kmeans_iterations,
        )
        self.centres.copy_(torch.from_numpy(found.centres))

    @torch.no_grad()
    def _observe(self, embedding: Float[Tensor, "batch dim"], labels: Int[Tensor, "batch"]) -> None:
        """Add a batch's labelled embeddings to this epoch's."""
        labelled = (labels != UNLABELLED).to(self.class_sums)
        unit = normalize(embedding.to(self.class_sums.dtype)) * labelled[:, None]
        rows = labels.clamp(min=0)
        self.class_sums.index_add_(0, rows, unit)
        self.class_counts.index_add_(0, rows, labelled)
