"""DATA, a reconstruction: multi-disentanglement contrastive learning (Liu et al., IEEE TMM 2025).

Paper: https://arxiv.org/abs/2505.04384. Page: docs/methods/data.md.

    L = CE + R + 0.5 (Bases + Orth) + 0.5 (Mix + Centre)

Two MLPs split an embedding into f_g, what all forgeries have in common, and f_s, what is specific
to one type. o_1 .. o_T are orthonormal "deepfake bases". Classes are told by f_s alone.

Bases   the mean of f_g over the batch, scaled to length sqrt(T), has a component a_t o_t on every
        base. InfoNCE over t: that of one view is to be recognised among those of the other.
Orth    the share of |f_s|^2 that lies in the span of the bases: mean of |O f_s|^2 / |f_s|^2.
Memory  the last f_s, of length 1, of images that are labelled or confidently of a novel class.
Mix     cross-entropy of confident images' f_s, mixed with one of their class in the memory.
Centre  confident images' f_s are to be nearest to their class among the means of the memory.
CE      cross-entropy of labelled images, both views.
R       log C less the entropy of the mean prediction: all classes should be used alike.

Reconstruction: there is no public code, and the paper's numbers are not to be had. The paper gives
the two MLPs, Gram-Schmidt, the batch mean of f_g that is decomposed over the bases, and that there
are a contrastive loss of bases, an augmented memory for novel classes and a contrastive loss of
centres. What had to be chosen:
* formulas: those of all terms, Orth among them; Bases by inner products of a_t o_t, since cosines
  of orthogonal vectors say nothing but their signs;
* confidence: the weak view's guess is a novel class, with at least the mean confidence of such
  guesses in the batch. A guess of a known class is never believed;
* memory: 64 rows a class, the oldest overwritten; none until a class has one;
* mixing: lambda x + (1 - lambda) m, lambda uniform in (0.5, 1), both of length 1;
* regularizer: R is none of the paper's that we know; nothing else asks for novel classes;
* temperature: 0.1 throughout; weights: as above; sizes: T = 8, f_g and f_s of 128 numbers, MLPs of
  three layers, 512 wide;
* views, optimiser, epochs: the recipe's, those of CAL's benchmark.
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.layers import CosineClassifier, Neck, ProjectionHead
from owdfa.losses import chosen_cross_entropy, entropy_of_mean, labelled_cross_entropy, masked_mean
from owdfa.methods.base import Method
from owdfa.records.training import UNLABELLED, Features, Losses, Progress

CHOSEN = (
    "formulas",
    "confidence",
    "memory",
    "mixing",
    "regularizer",
    "temperature",
    "weights",
    "sizes",
    "views",
    "optimiser",
    "epochs",
)
"""What makes it a reconstruction; the list above says how."""
_OUT_OF_REACH = -1e4  # a logit; minus infinity for all classes would be no number


class DATASettings(Settings):
    """Settings of DATA; all of them chosen here."""

    num_bases: int = Field(default=8, ge=2)
    """T, the number of bases; at most feature_dim."""
    feature_dim: int = Field(default=128, ge=2)
    """Length of f_g and of f_s."""
    hidden_dim: int = Field(default=512, ge=1)
    """Width of the hidden layers of both MLPs."""
    memory_size: int = Field(default=64, ge=1)
    """Rows of the memory for each class."""
    temperature: float = Field(default=0.1, gt=0)
    """What cosines are divided by: in predictions, Bases and Centre."""
    bases_weight: float = Field(default=0.5, ge=0)
    """Weight of Bases and Orth."""
    memory_weight: float = Field(default=0.5, ge=0)
    """Weight of Mix and Centre."""
    prior_weight: float = Field(default=1.0, ge=0)
    """Weight of R."""


@final
class DATA(Method):
    """Two MLPs on the embedding, orthonormal bases, a memory, and a cosine classifier on f_s."""

    settings_type = DATASettings
    needs_num_classes = True
    reconstruction = CHOSEN

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: DATASettings
    ) -> None:
        super().__init__()
        assert num_classes is not None
        if settings.num_bases > settings.feature_dim:
            raise UserError(
                f"method.num_bases: {settings.num_bases} vectors of {settings.feature_dim} numbers"
                " cannot be orthogonal; set fewer, or a larger method.feature_dim"
            )
        self.settings = settings
        self.num_known = num_known
        self.backbone = backbone
        dim, hidden, out = backbone.channels, settings.hidden_dim, settings.feature_dim
        self.neck = Neck(dim)
        self.general = ProjectionHead(dim, hidden, out)
        self.specific = ProjectionHead(dim, hidden, out)
        self.bases = nn.Parameter(torch.randn(settings.num_bases, out))
        self.classifier = CosineClassifier(num_classes, out, settings.temperature)
        self.memory: Tensor  # rows of f_s by class, of length 1; 0 where there is none yet
        self.register_buffer("memory", torch.zeros(num_classes, settings.memory_size, out))
        self.stored: Tensor  # how many rows each class was ever given
        self.register_buffer("stored", torch.zeros(num_classes, dtype=torch.int64))

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return len(self.classifier.vectors)

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute f_s, the embedding, and f_g, the part "general"."""
        (maps,) = self.backbone(images)
        embedding = self.neck(maps)
        return Features(self.specific(embedding), parts={"general": self.general(embedding)})

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score f_s: cosines with the class vectors over the temperature."""
        logits: Tensor = self.classifier(features.embedding)
        return logits

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        progress: Progress,  # noqa: ARG002
    ) -> Losses:
        """Compute L from the features of the weak and the strong view; then fill the memory."""
        with torch.autocast(labels.device.type, enabled=False):
            weak = self.classify(views[0])
            classes, chosen = confident(weak.detach(), labels, self.num_known)
            found = self.losses(views, labels, classes, chosen)
        rows = normalize(views[0].embedding.detach())
        memory, stored = store(self.memory, self.stored, rows, classes, chosen)
        self.memory.copy_(memory)
        self.stored.copy_(stored)
        return found

    def losses(
        self,
        views: tuple[Features, ...],
        labels: Int[Tensor, "batch"],
        classes: Int[Tensor, "batch"],
        chosen: Bool[Tensor, "batch"],
    ) -> Losses:
        """Compute L; that the ``chosen`` images are of ``classes`` is believed."""
        settings = self.settings
        logits = torch.cat([self.classify(view) for view in views])
        ce = labelled_cross_entropy(logits, labels.repeat(2))
        r = math.log(self.num_active) - entropy_of_mean(logits)
        basis = orthonormal(self.bases)
        general = [view.parts["general"] for view in views]
        bases = bases_contrast(general[0], general[1], basis, settings.temperature)
        specific = torch.cat([normalize(view.embedding) for view in views])
        orth = share_in_span(specific, basis)
        mix, centre = self._by_memory(specific, classes.repeat(2), chosen.repeat(2))
        terms = {"ce": ce, "r": r, "bases": bases, "orth": orth, "mix": mix, "centre": centre}
        total = ce + settings.prior_weight * r
        total = total + settings.bases_weight * (bases + orth)
        total = total + settings.memory_weight * (mix + centre)
        return Losses(total, terms, logits[: len(labels)].detach())

    def _by_memory(
        self,
        rows: Float[Tensor, "rows dim"],
        classes: Int[Tensor, "rows"],
        chosen: Bool[Tensor, "rows"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mix and Centre, over the chosen rows whose class is in the memory."""
        num_rows = self.stored.clamp(max=self.settings.memory_size)
        chosen = chosen & (num_rows > 0)[classes]
        partners = draw_rows(self.memory, num_rows, classes)
        share = 0.5 + 0.5 * torch.rand(len(rows), 1, device=rows.device, dtype=rows.dtype)
        mixed = self.classifier(share * rows + (1 - share) * partners)
        mix = chosen_cross_entropy(mixed, classes, chosen)
        logits = nearness(rows, self.memory, self.settings.temperature)
        return mix, chosen_cross_entropy(logits, classes, chosen)


@torch.no_grad()
def confident(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch"], num_known: int
) -> tuple[Int[Tensor, "batch"], Bool[Tensor, "batch"]]:
    """The class of each image, its label or its guess, and whether it is believed.

    A label is; a guess where it is a novel class and as confident as such guesses are on average.
    """
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    labelled = labels != UNLABELLED
    novel = ~labelled & (guess >= num_known)
    threshold = masked_mean(confidence, novel)
    return labels.where(labelled, guess), labelled | (novel & (confidence >= threshold))


def orthonormal(vectors: Float[Tensor, "bases dim"]) -> Float[Tensor, "bases dim"]:
    """Gram-Schmidt: rows of length 1, orthogonal, each in the span of the rows up to its own.

    By Householder's QR, which rounds less; signs are those of Gram-Schmidt, so that the result
    changes little with the vectors.
    """
    q, r = torch.linalg.qr(vectors.T)
    rows: Tensor = (q * r.diagonal().sign()).T
    return rows


def bases_contrast(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    basis: Float[Tensor, "bases dim"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE over the components that the batch means of f_g have on the bases.

    Bases::

        m   = sqrt(T) mean_i f_i / |mean_i f_i|        of each view
        p_t = <m, o_t> o_t                             the component on base t
        L   = mean_t -log softmax_t'(<p_t, p'_t'> / tau)[t]

    Components on different bases are orthogonal, whatever they are: it falls as every base comes
    to carry a part of what the images have in common, the same in both views.
    """
    components = []
    for view in (first, second):
        mean = math.sqrt(len(basis)) * normalize(view.mean(dim=0), dim=0)
        components.append((basis @ mean)[:, None] * basis)
    similarity = components[0] @ components[1].T / temperature
    return cross_entropy(similarity, torch.arange(len(basis), device=basis.device))


def share_in_span(
    rows: Float[Tensor, "batch dim"], basis: Float[Tensor, "bases dim"]
) -> Float[Tensor, ""]:
    """Orth: mean over rows of length 1 of the squared length of their part in the bases' span."""
    return (rows @ basis.T).square().sum(dim=1).mean()


def nearness(
    rows: Float[Tensor, "rows dim"],
    memory: Float[Tensor, "classes size dim"],
    temperature: float,
) -> Float[Tensor, "rows classes"]:
    """Cosines of rows of length 1 with the mean of each class in the memory, over a temperature.

    A class of which there is none is out of reach.
    """
    sums = memory.sum(dim=1)
    logits = rows @ normalize(sums).T / temperature
    return logits.masked_fill(~memory.any(dim=2).any(dim=1), _OUT_OF_REACH)


def draw_rows(
    memory: Float[Tensor, "classes size dim"],
    num_rows: Int[Tensor, "classes"],
    classes: Int[Tensor, "rows"],
) -> Float[Tensor, "rows dim"]:
    """Draw a row of each class from the ``num_rows`` that the memory has; 0 where it has none."""
    uniform = torch.rand(len(classes), device=classes.device)
    return memory[classes, (uniform * num_rows[classes]).long()]


@torch.no_grad()
def store(
    memory: Float[Tensor, "classes size dim"],
    stored: Int[Tensor, "classes"],
    rows: Float[Tensor, "batch dim"],
    classes: Int[Tensor, "batch"],
    chosen: Bool[Tensor, "batch"],
) -> tuple[Float[Tensor, "classes size dim"], Int[Tensor, "classes"]]:
    """Put the chosen rows into the memory of their class, in order, over the oldest ones.

    Returns:
        The memory, and how many rows each class was ever given.
    """
    num_classes, size, dim = memory.shape
    member = chosen[:, None] & (classes[:, None] == torch.arange(num_classes, device=rows.device))
    number = member.sum(dim=0)
    rank = (member.cumsum(dim=0) - 1).gather(1, classes[:, None])[:, 0]
    kept = chosen & (rank >= number[classes] - size)  # of more than fit, the last
    place = classes * size + (stored[classes] + rank) % size
    # Rows that are not kept go to one more place, which is cut off: nothing waits for the device.
    flat = torch.cat([memory.flatten(0, 1), memory.new_zeros(1, dim)])
    flat[place.where(kept, num_classes * size)] = rows.to(memory.dtype)
    return flat[:-1].view_as(memory), stored + number
