"""GDA-Net, a reconstruction: attribution to a generator's architecture (Shahid et al., 2024).

Paper: https://arxiv.org/abs/2406.18278. Page: docs/methods/gdanet.md.

    L = SCon + CE + Rec

SCon   supervised contrast between the projections, 128 numbers, of two views of labelled images.
CE     cross-entropy of a linear classifier; none of its gradient reaches the extractor. After the
       last epoch the classifier alone is fitted anew to the embeddings of all training images.
Rec    second form alone (``residual``): mean square error of an auto-encoder DAE that takes noise
       away from real images. The extractor is then given |x - DAE(x)|, without gradient for DAE.

It is closed-set: trained on labelled images, with one logit a known class. It cannot find a novel
type, and gives every image of one to a known class.

Reconstruction: there is no public code, and the paper's numbers are not to be had. The paper gives
the two networks and the lengths of embedding and projection, that contrast comes before the
classifier, and that DAE sees real images alone. What had to be chosen:
* auto-encoder: two halvings and two doublings, four 3 x 3 convolutions, noise of 0.2;
* order: DAE, extractor and classifier are trained in the same steps, each by its own term alone, in
  place of one after the other; only the classifier is fitted once more at the end;
* temperature: 0.07, as in supervised contrast (Khosla et al., NeurIPS 2020);
* projection head: three linear layers, the hidden ones 2048 wide; batch normalisation before it;
* classifier fit: logistic regression by L-BFGS, ``weight_decay`` on the squared weights;
* views: two strong ones; optimiser, epochs and sizes: the recipe's, those of the supervised bound.
Which class is real is a setting, its place among the known classes: a method sees no names.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pixel_shuffle

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.layers import Neck, ProjectionHead
from owdfa.losses import labelled_cross_entropy, masked_mean, supervised_contrastive
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, Features, Losses, Progress

CHOSEN = (
    "auto-encoder",
    "order",
    "temperature",
    "projection head",
    "classifier fit",
    "views",
    "optimiser",
    "epochs",
    "sizes",
)
"""What makes it a reconstruction; the list above says how."""
_ITERATIONS = 200  # of the classifier's fit, at most


class GDANetSettings(Settings):
    """Settings of GDA-Net; chosen here but for the length of the projection."""

    projection_dim: int = Field(default=128, ge=1)
    """Length of what is contrasted."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projection head's hidden layers."""
    temperature: float = Field(default=0.07, gt=0)
    """Temperature of SCon."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """Weight of the classifier's squared weights in its last fit."""
    residual: bool = False
    """The second form: the extractor sees what an auto-encoder of real images leaves over."""
    real_class: int = Field(default=0, ge=0)
    """Place of the real class among the known ones, which split.json lists; for residual=true."""
    noise: float = Field(default=0.2, ge=0)
    """Deviation of the noise that the auto-encoder takes away, in units of a normalised image."""
    denoiser_width: int = Field(default=16, ge=1)
    """Channels of the auto-encoder's first layer."""


@final
class GDANet(Method):
    """A feature extractor trained by contrast, and a linear classifier of the known classes."""

    settings_type = GDANetSettings
    views = ("strong", "strong")
    discovers = False
    uses_unlabelled = False
    reconstruction = CHOSEN

    def __init__(
        self,
        backbone: Backbone,
        num_known: int,
        num_classes: int | None,  # noqa: ARG002
        settings: GDANetSettings,
    ) -> None:
        super().__init__()
        if settings.residual and settings.real_class >= num_known:
            raise UserError(
                f"method.real_class: there is no known class {settings.real_class}, they are 0 to"
                f" {num_known - 1}; set the place of the real one in split.json's list"
            )
        self.settings = settings
        self.backbone = backbone
        dim = backbone.channels
        self.denoiser = Denoiser(settings.denoiser_width) if settings.residual else None
        self.neck = Neck(dim)
        self.head = ProjectionHead(dim, settings.hidden_dim, settings.projection_dim)
        self.classifier = nn.Linear(dim, num_known)

    @property
    def num_active(self) -> int:
        """Number of known classes."""
        return self.classifier.out_features

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the embedding of images, and in training the error of each reconstruction."""
        if self.denoiser is None:
            return self._embedded(images)
        seen = (images - self.denoiser(images).detach()).abs()
        found = self._embedded(seen)
        if not self.training:
            return found
        noisy = images + self.settings.noise * torch.randn_like(images)
        error = (images - self.denoiser(noisy)).square().mean(dim=(1, 2, 3))
        return found._replace(parts={"error": error})

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score embeddings for every known class; no gradient for what made them."""
        logits: Tensor = self.classifier(features.embedding.detach())
        return logits

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of both views."""
        logits = [self.classify(view) for view in views]
        first, second = (self.head(view.embedding) for view in views)
        scon = supervised_contrastive(first, second, labels, self.settings.temperature)
        ce = labelled_cross_entropy(torch.cat(logits), labels.repeat(2))
        terms = {"scon": scon, "ce": ce}
        if self.denoiser is not None:
            errors = torch.cat([view.parts["error"] for view in views])
            terms["rec"] = masked_mean(errors, labels.repeat(2) == self.settings.real_class)
        return Losses(torch.stack(list(terms.values())).sum(), terms, logits[0].detach())

    def begin_training(self, labels: Tensor) -> None:
        """Check that there is something to train the auto-encoder on.

        Raises:
            UserError: No training image is labelled as real.
        """
        if self.denoiser is not None and not (labels == self.settings.real_class).any():
            raise UserError(
                f"method.real_class: no training image has class {self.settings.real_class}; set"
                " the place of the real class in split.json's list of known ones"
            )

    def finish(
        self, embeddings: Float[Tensor, "images dim"], labels: Int[Tensor, "images"]
    ) -> None:
        """Fit the classifier to the embeddings of all labelled training images."""
        chosen = labels != UNLABELLED
        if not chosen.any():
            return
        weight, bias = fit_linear(
            embeddings[chosen], labels[chosen], self.num_active, self.settings.weight_decay
        )
        with torch.no_grad():
            self.classifier.weight.copy_(weight)
            self.classifier.bias.copy_(bias)

    def _embedded(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        (maps,) = self.backbone(images)
        return Features(self.neck(maps))


@final
class Denoiser(nn.Module):
    """An auto-encoder: images to a quarter of their size and back.

    Args:
        width: Channels of the first layer; the second has twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.middle = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(width, 12, 3, padding=1)  # four pixels of three colours

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
        """Reconstruct images of any size."""
        height, width = images.shape[-2:]
        half = ((height + 1) // 2, (width + 1) // 2)
        maps = interpolate(self.encoder(images), size=half, mode="nearest")
        made = pixel_shuffle(self.last(self.middle(maps)), 2)
        return made[..., :height, :width]


def fit_linear(
    rows: Float[Tensor, "images dim"],
    labels: Int[Tensor, "images"],
    num_classes: int,
    weight_decay: float,
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, "classes"]]:
    """Fit a linear classifier by L-BFGS, from 0: weights and biases.

    Minimises the mean cross-entropy plus ``weight_decay / 2`` times the squared weights, which has
    one minimum.
    """
    weight = rows.new_zeros(num_classes, rows.shape[1]).requires_grad_()
    bias = rows.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(rows @ weight.T + bias, labels)
        loss = loss + weight_decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()
