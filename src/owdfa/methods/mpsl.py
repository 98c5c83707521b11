"""MPSL: Multi-Perspective Sensory Learning (Sun et al., IJCV 2025).

Paper: https://doi.org/10.1007/s11263-024-02184-7. Page: docs/methods/mpsl.md.

    L = CE_m + 0.5 MPV + 0.5 FCP - H

CE_m  cross-entropy of labelled images, after the label's logit was raised by a margin.
MPV   multi-perspective voting: an image and its partner should be of one class. A labelled image's
      partner is another one of its class. An unlabelled one's is its nearest neighbour by the
      global feature, where at least one grid of cells (3 x 3, 5 x 5, 7 x 7) and at least one high
      band of the feature map's Haar transform agree (``owdfa.votes``), else itself.
FCP   frequency-based confident pseudo-labels: unlabelled images learn a Gumbel-softmax sample of
      their own prediction.
H     entropy of the mean prediction: all classes should be used.
Optionally hard pseudo-labels are added (``owdfa.pseudo_labels``).

Paper and release differ: the paper gives soft pseudo-labels only to images for which a grid or a
band voted; the release has that line commented out. ``mask_soft_labels`` chooses.
Differs from the authors' release (22e2584): it can be trained (the release never passes two
arguments that its loss reads), and in what docs/methods/mpsl.md lists.
"""

from collections.abc import Mapping
from typing import Annotated, final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.layers import CellNecks, Neck, Prototypes, haar_bands
from owdfa.losses import entropy_of_mean, margin_cross_entropy, partner_agreement
from owdfa.methods.base import Method, OfficialCheckpoint
from owdfa.pseudo_labels import (
    PseudoLabelSettings,
    gumbel_soft_labels,
    hard_pseudo_label_loss,
    make_rule,
    soft_pseudo_label_loss,
)
from owdfa.records.training import UNLABELLED, Features, Losses, Progress
from owdfa.votes import Votes, band_similarity, cast_votes, choose_partners, part_similarity
from owdfa.weights import of_release, stacked

_OFFICIAL = {
    "encoder.encoder.": "backbone.network.",
    "encoder.bottleneck.": "neck.norm.",
    "encoder.fc2.weight": "prototypes.vectors",
}
_OFFICIAL_CELLS = (3, 5, 7)


class MPSLSettings(Settings):
    """Settings of MPSL; the defaults are the paper's, or the release's where they differ."""

    margin: float = Field(default=0.2, ge=0)
    """What the label's logit is raised by before the cross-entropy."""
    mpv_weight: float = Field(default=0.5, ge=0)
    """eta_1, weight of MPV."""
    fcp_weight: float = Field(default=0.5, ge=0)
    """eta_2, weight of FCP."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """eta_3, weight of the entropy of the mean prediction."""
    cells: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(3, 5, 7), min_length=1)
    """Grids of cells of the feature map: how many in each direction."""
    mask_soft_labels: bool = False
    """Whether only images for which a grid or a band voted get soft labels, as in the paper."""
    prototype_scale: float = Field(default=0.001, gt=0)
    """Standard deviation of the classifier's weights at the start."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout of the embedding before it is scored."""
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    """Hard pseudo-labels in addition."""


@final
class MPSL(Method):
    """The network that scores images, and the objective that trains it."""

    settings_type = MPSLSettings
    views = ("strong",)
    needs_num_classes = True

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,  # noqa: ARG002
        num_classes: int | None,
        settings: MPSLSettings,
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        self.backbone = backbone
        self.neck = Neck(backbone.channels)
        self.grids = nn.ModuleList(CellNecks(backbone.channels, n) for n in settings.cells)
        self.dropout = nn.Dropout(settings.dropout)
        self.prototypes = Prototypes(num_classes, backbone.channels, settings.prototype_scale)
        self.rule = make_rule(settings.pseudo_labels, num_classes)

    @classmethod
    def from_official(cls, weights: Mapping[str, Tensor]) -> OfficialCheckpoint | None:
        """Translate a checkpoint of the release, which numbers its cells' necks by grid."""
        state = of_release(weights, _OFFICIAL)
        grids = [stacked(weights, f"encoder.bnneck{n}_") for n in _OFFICIAL_CELLS]
        if "prototypes.vectors" not in state or not all(grids):
            return None
        num_classes = len(state["prototypes.vectors"])
        state["prototypes.active"] = torch.tensor(num_classes)
        for i, grid in enumerate(grids):
            state |= {f"grids.{i}.norm.{name}": tensor for name, tensor in grid.items()}
        return OfficialCheckpoint(state, num_classes, num_classes)

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return self.prototypes.num_active

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the global feature, and in training those of cells and frequency bands."""
        (maps,) = self.backbone(images)
        return self.head(maps)

    def head(self, maps: Float[Tensor, "batch dim y x"]) -> Features:
        """Compute features from the last feature map alone."""
        return Features(self.neck(maps), parts=self.parts(maps) if self.training else {})

    def parts(self, maps: Float[Tensor, "batch dim y x"]) -> dict[str, Tensor]:
        """Compute features of cells and of frequency bands, each (B, D, cells); no gradient."""
        cells = {f"cells{i}": grid(maps) for i, grid in enumerate(self.grids)}
        bands = haar_bands(maps.detach())
        return cells | {f"band{i}": band.flatten(2) for i, band in enumerate(bands)}

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings for every class."""
        logits: Tensor = self.prototypes(self.dropout(features.embedding))
        return logits

    def begin_training(self, labels: Tensor) -> None:
        """Tell the pseudo-label rule."""
        if self.rule is not None:
            self.rule.begin_training(labels)

    def begin_step(self, rows: Tensor) -> None:
        """Tell the pseudo-label rule."""
        if self.rule is not None:
            self.rule.begin_step(rows)

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of the one view."""
        (view,) = views
        logits = self.classify(view)
        noise = torch.rand(len(labels), len(labels), device=labels.device)
        return self.losses(logits, labels, self.votes(view), gumbel_soft_labels(logits), noise)

    def votes(self, view: Features) -> tuple[Votes, Votes]:
        """Let the grids of cells vote, and the frequency bands."""
        grids = [p for name, p in view.parts.items() if name.startswith("cells")]
        bands = [p for name, p in view.parts.items() if name.startswith("band")]
        return (
            cast_votes(view.embedding, [part_similarity(part) for part in grids]),
            cast_votes(view.embedding, [band_similarity(band) for band in bands]),
        )

    def losses(
        self,
        logits: Float[Tensor, "batch classes"],
        labels: Int[Tensor, "batch"],
        votes: tuple[Votes, Votes],
        soft_labels: Float[Tensor, "batch classes"],
        noise: Float[Tensor, "batch batch"],
    ) -> Losses:
        """Compute L from logits, votes and what was drawn at random.

        Args:
            logits: Of the batch.
            labels: Class index, or ``UNLABELLED``.
            votes: Of the grids of cells, and of the frequency bands.
            soft_labels: See ``gumbel_soft_labels``; those of labelled images do not matter.
            noise: Decides which image of its class is a labelled image's partner.
        """
        settings, unlabelled = self.settings, labels == UNLABELLED
        by_cells, by_bands = (each.num_votes > 0 for each in votes)
        partners = choose_partners(labels, votes[0].neighbours, by_cells & by_bands, noise)
        taught = by_cells | by_bands if settings.mask_soft_labels else torch.ones_like(unlabelled)
        ce = margin_cross_entropy(logits, labels, settings.margin)
        mpv = partner_agreement(logits, partners)
        fcp = soft_pseudo_label_loss(logits, soft_labels, taught, unlabelled)
        entropy = entropy_of_mean(logits)
        total = (
            ce
            + settings.mpv_weight * mpv
            + settings.fcp_weight * fcp
            - settings.entropy_weight * entropy
        )
        terms = {"ce": ce, "mpv": mpv, "fcp": fcp, "entropy": entropy}
        if self.rule is not None:
            terms["pseudo"] = hard_pseudo_label_loss(self.rule, logits, unlabelled)
            total = total + settings.pseudo_labels.weight * terms["pseudo"]
        return Losses(total, terms, logits.detach())
