"""CDAL: Counterfactually Decoupled Attention Learning, a plug-in (Zheng et al., ICCV 2025).

Paper: https://arxiv.org/abs/2506.23074. Page: docs/methods/cdal.md.

    L = L_base + 0.5 (aux + aux of the augmentation) + 0.2 match

It wraps a base method, CPL or MPSL, and reads the backbone's first-stage map F as well::

    attention   M maps of F, by conditional convolutions; counterfactual attention: M others
    y, y'       logits from the features that attention, and counterfactual attention, select
    aux         CE_m(y) + CE_m(y - y') - H(softmax(y')), over labelled images
    augment     F * a + blur(F) * a', with a and a' one sampled map of each attention
    match       how far the augmentation's attention features are from those of F

The base predicts: what is added here only shapes the backbone, and costs nothing afterwards.

Paper and release (392ce5e) differ: on CPL the release matches F under the attention with the
augmentation under the *counterfactual* attention, on MPSL, as here, under the attention.
"""

import math
from typing import Annotated, Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from pydantic import BeforeValidator, Field, SerializeAsAny, create_model
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, interpolate, normalize, pad

from owdfa.backbones.base import Backbone
from owdfa.config import Settings, parse_settings
from owdfa.errors import UserError
from owdfa.layers import Prototypes
from owdfa.losses import entropies, margin_cross_entropy, masked_mean
from owdfa.methods.base import Method, build_method, method_type
from owdfa.records.training import UNLABELLED, EpochEnd, Features, Losses, Progress

_EPSILON = 1e-6  # under square roots
_SHARPNESS = 100.0  # attention features have length 1
_KERNEL, _SIGMA = 11, 7.0  # of the blur, in places of the halved map
_NOISE = 0.1  # standard deviation of what is added to the blurred map


def _base_settings(given: Any) -> Settings:
    """Settings of the base method, its name among them.

    Raises:
        UserError: It cannot be wrapped, or a setting is none of its own.
    """
    table = given.model_dump() if isinstance(given, Settings) else dict(given)
    name = table.get("name", "cpl")
    own = method_type(name)
    if not hasattr(own, "head") or own.views != CDAL.views:
        raise UserError(
            f"method cdal: cannot wrap {name!r}, which needs more than the last feature map of one"
            " view; set method.base.name=cpl or mpsl"
        )
    title = Field(default=name, description="The method's name.")
    schema = create_model("BaseSettings", __base__=own.settings_type, name=(str, title))
    return parse_settings(schema, table, "method.base")


class CDALSettings(Settings):
    """Settings of CDAL; the defaults are those of its release, on CPL."""

    base: Annotated[SerializeAsAny[Settings], BeforeValidator(_base_settings)] = Field(
        default_factory=lambda: _base_settings({"name": "cpl"})
    )
    """The method that is wrapped, and its own settings beside its name."""
    num_maps: int = Field(default=64, ge=2)
    """M, attention maps."""
    num_experts: int = Field(default=4, ge=1)
    """Kernels that a conditional convolution mixes."""
    aux_weight: float = Field(default=0.5, ge=0)
    """Weight of the two auxiliary losses."""
    match_weight: float = Field(default=0.2, ge=0)
    """Weight of the matching loss."""
    margin: float = Field(default=0.2, ge=0)
    """What the label's logit is raised by before the cross-entropy."""
    prototype_scale: float = Field(default=0.001, gt=0)
    """Standard deviation of the classifier's weights at the start."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout of the attention features before they are scored."""


@runtime_checkable
class _HasHead(Protocol):
    """What the base must have: features from the last feature map alone."""

    def head(self, maps: Tensor) -> Features: ...


class Attended(NamedTuple):
    """What the two attentions make of a feature map."""

    attention: Float[Tensor, "batch maps y x"]
    counterfactual: Float[Tensor, "batch maps y x"]
    logits: Float[Tensor, "batch classes"]  # y
    counterfactual_logits: Float[Tensor, "batch classes"]  # y'


@final
class CDAL(Method):
    """A base method, and attention over the backbone's first-stage map while it is trained."""

    settings_type = CDALSettings
    views = ("strong",)
    needs_num_classes = True

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: CDALSettings
    ) -> None:
        super().__init__()
        assert num_classes is not None
        self.settings = settings
        name: str = settings.base.model_dump()["name"]
        self.base = build_method(name, backbone, num_known, num_classes, settings.base)
        channels, num_maps = backbone.stage_channels[0], settings.num_maps
        self.attention = Attention(channels, num_maps, settings.num_experts)
        self.counterfactual = Attention(channels, num_maps, settings.num_experts)
        self.dropout = nn.Dropout(settings.dropout)
        self.prototypes = Prototypes(num_classes, num_maps * channels, settings.prototype_scale)

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]  # read, and never set anew
        """That of the base, where alone it is a part of the network."""
        return self.base.backbone

    @property
    def num_active(self) -> int:
        """Number of classes."""
        return self.base.num_active

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the base's features, and in training the first-stage map."""
        if not self.training:
            return self.base.features(images)
        assert isinstance(self.base, _HasHead)
        first, last = self.backbone(images, stages=(0, -1))
        return self.base.head(last)._replace(maps=(first,))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Score as the base does."""
        return self.base.classify(features)

    def objective(
        self, views: tuple[Features, ...], labels: Int[Tensor, "batch"], progress: Progress
    ) -> Losses:
        """Compute L from the features of the one view."""
        base = self.base.objective(views, labels, progress)
        (maps,) = views[0].maps
        seen = self.attend(maps)
        index, other = sample_map(seen.attention), sample_map(seen.counterfactual)
        augmented = augment(
            maps, _chosen(seen.attention, index), _chosen(seen.counterfactual, other)
        )
        again = self.attend(augmented)
        aux = self._auxiliary(seen, labels) + self._auxiliary(again, labels)
        match = matching_loss(
            attention_matrix(seen.attention, maps),
            attention_matrix(again.attention, augmented),
            index,
        )
        total = base.total + self.settings.aux_weight * aux + self.settings.match_weight * match
        return Losses(total, {**base.terms, "aux": aux, "match": match}, base.logits)

    def attend(self, maps: Float[Tensor, "batch dim y x"]) -> Attended:
        """Let both attentions select features of a map, and score them."""
        attentions = self.attention(maps), self.counterfactual(maps)
        features = (attention_features(each, maps) for each in attentions)
        logits = (self.prototypes(self.dropout(each) * _SHARPNESS) for each in features)
        return Attended(*attentions, *logits)

    def begin_training(self, labels: Tensor) -> None:
        """Tell the base."""
        self.base.begin_training(labels)

    def begin_step(self, rows: Tensor) -> None:
        """Tell the base."""
        self.base.begin_step(rows)

    def end_epoch(self, progress: Progress) -> EpochEnd:
        """Let the base update what changes once an epoch."""
        return self.base.end_epoch(progress)

    def _auxiliary(self, seen: Attended, labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        return auxiliary_loss(seen.logits, seen.counterfactual_logits, labels, self.settings.margin)


@final
class ConditionalConv2d(nn.Module):
    """A convolution whose kernel is mixed from several for each image (CondConv).

    Yang et al., NeurIPS 2019, arXiv:1904.04971: weights sigmoid(linear(average pool)). No bias; the
    map keeps its size.

    Args:
        before: Channels.
        after: Channels of the result.
        size: Of the kernel, odd.
        groups: Of channels; ``before`` makes it depthwise.
        num_experts: Kernels to mix.
    """

    def __init__(
        self, before: int, after: int, *, size: int = 1, groups: int = 1, num_experts: int = 4
    ) -> None:
        super().__init__()
        self.groups = groups
        self.routing = nn.Linear(before, num_experts)
        self.shape = (after, before // groups, size, size)
        self.kernels = nn.Parameter(torch.empty(num_experts, math.prod(self.shape)))
        bound = 1 / math.sqrt(math.prod(self.shape[1:]))  # as that of any convolution
        nn.init.uniform_(self.kernels, -bound, bound)

    def forward(self, maps: Float[Tensor, "batch before y x"]) -> Float[Tensor, "batch after y x"]:
        """Convolve each image with its own kernel."""
        num_images, (height, width) = len(maps), maps.shape[-2:]
        kernels = self.routing(maps.mean(dim=(2, 3))).sigmoid() @ self.kernels
        size = self.shape[-1]
        if size == 1 and self.groups == 1:
            mixed: Tensor = kernels.view(num_images, *self.shape[:2]) @ maps.flatten(2)
            return mixed.view(num_images, -1, height, width)
        outputs: Tensor = conv2d(
            maps.reshape(1, -1, height, width),  # the images as groups of channels
            kernels.view(-1, *self.shape[1:]),
            padding=size // 2,
            groups=num_images * self.groups,
        )
        return outputs.view(num_images, -1, height, width)


@final
class Attention(nn.Module):
    """Attention maps of a feature map: half of them mixed from its channels, half from those."""

    def __init__(self, channels: int, num_maps: int, num_experts: int) -> None:
        super().__init__()
        half = -(-num_maps // 2)
        self.num_maps = num_maps
        self.cross = nn.Sequential(
            ConditionalConv2d(channels, half, num_experts=num_experts),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )
        self.depth = nn.Sequential(
            ConditionalConv2d(half, half, size=3, groups=half, num_experts=num_experts),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )

    def forward(self, maps: Float[Tensor, "batch dim y x"]) -> Float[Tensor, "batch maps y x"]:
        """Compute the attention, 0 or more."""
        crossed = self.cross(maps)
        return torch.cat([crossed, self.depth(crossed)], dim=1)[:, : self.num_maps]


def attention_matrix(
    attention: Float[Tensor, "batch maps y x"], features: Float[Tensor, "batch dim y x"]
) -> Float[Tensor, "batch maps dim"]:
    """What each attention map selects: the mean over places of attention times features."""
    matrix = attention.flatten(2) @ features.flatten(2).transpose(1, 2)
    whole = torch.promote_types(matrix.dtype, torch.float32)
    return matrix.to(whole) / attention[0, 0].numel()


def attention_features(
    attention: Float[Tensor, "batch maps y x"], features: Float[Tensor, "batch dim y x"]
) -> Float[Tensor, "batch maps_dim"]:
    """The attention matrix as one vector of length 1, after a signed square root."""
    matrix = attention_matrix(attention, features).flatten(1)
    return normalize(matrix.sign() * (matrix.abs() + _EPSILON).sqrt(), dim=1)


def auxiliary_loss(
    logits: Float[Tensor, "batch classes"],
    counterfactual: Float[Tensor, "batch classes"],
    labels: Int[Tensor, "batch"],
    margin: float,
) -> Float[Tensor, ""]:
    """``CE_m(y) + CE_m(y - y') - H(softmax(y'))``, means over labelled images.

    Attention must tell the classes, and tell them by more than counterfactual attention does,
    which in turn should say as little as it can.
    """
    ce = margin_cross_entropy(logits, labels, margin)
    effect = margin_cross_entropy(logits - counterfactual, labels, margin)
    return ce + effect - masked_mean(entropies(counterfactual), labels != UNLABELLED)


def matching_loss(
    first: Float[Tensor, "batch maps dim"],
    second: Float[Tensor, "batch maps dim"],
    index: Int[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Mean distance of what equal attention maps select, in direction; 0 for map ``index``."""
    distance: Tensor = (normalize(first, dim=2) - normalize(second, dim=2)).norm(dim=2)
    return distance.scatter(1, index[:, None], 0.0).mean()


def sample_map(attention: Float[Tensor, "batch maps y x"]) -> Int[Tensor, "batch"]:
    """Draw an attention map of each image, by the root of its sum; no gradient."""
    weights = (attention.detach().float().sum(dim=(2, 3)) + _EPSILON).sqrt()
    return weights.multinomial(1)[:, 0]


def augment(
    features: Float[Tensor, "batch dim y x"],
    attention: Float[Tensor, "batch 1 y x"],
    counterfactual: Float[Tensor, "batch 1 y x"],
) -> Float[Tensor, "batch dim y x"]:
    """``F * a + blur(F) * a'``: half the size, Gaussian blur, noise, and back to size."""
    small = interpolate(features, scale_factor=0.5, mode="bilinear", align_corners=True)
    rows, columns = (_blur_matrix(side, small) for side in small.shape[-2:])
    small = rows @ small @ columns.T
    small = small + _NOISE * torch.randn_like(small)
    size = features.shape[-2:]
    blurred = interpolate(small, size=size, mode="bilinear", align_corners=True)
    return features * attention + blurred * counterfactual


def _chosen(
    attention: Float[Tensor, "batch maps y x"], index: Int[Tensor, "batch"]
) -> Float[Tensor, "batch 1 y x"]:
    return attention.take_along_dim(index[:, None, None, None], dim=1)


def _blur_matrix(side: int, like: Tensor) -> Float[Tensor, "side side"]:
    """A Gaussian blur of ``side`` numbers, mirrored at the ends, as a matrix.

    The kernel is cut to what can be mirrored where there are fewer than 6 numbers.
    """
    reach = min(_KERNEL // 2, side - 1)
    places = torch.arange(-reach, reach + 1, device=like.device, dtype=torch.float32)
    kernel = (-(places**2) / (2 * _SIGMA**2)).exp()
    ones = torch.eye(side, device=like.device)[:, None]
    mirrored = pad(ones, (reach, reach), mode="reflect")
    blurred: Tensor = conv1d(mirrored, (kernel / kernel.sum())[None, None])
    return blurred[:, 0].T.to(like.dtype)
