"""PLDA: a generative model of types on the embedding of a network that another training made.

    x = m + e        m ~ N(0, B)        e ~ N(0, W)
    L = - sum_x log mean_k p(x | type k), where a labelled x counts in its own type alone

An image's embedding x is the mean m of its type plus what content and chance do, e. Probabilistic
LDA (Ioffe, ECCV 2006; Prince and Elder, ICCV 2007). W is learnt from the labelled images, B from
the means of known types. After the last epoch types are fitted to all training images: labelled
ones stay in theirs, novel types are found, and their number with them (``owdfa.plda``). A new
image's logits are its log-probabilities of each type over a temperature that leave-known-out sets.

Nothing is trained: it is fitted to a backbone with fixed features, or to one of a run or a stage.

Page: docs/methods/plda.md.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from owdfa.backbones.base import Backbone
from owdfa.methods.base import Method
from owdfa.plda.fit import Fitted, TypesSettings, fit, number_of_types
from owdfa.plda.mass import novel_share
from owdfa.records.training import Features
from owdfa.records.types_found import KnownOut, TypesFound

_LEAST_CAPACITY = 40  # types, where there are few known ones


class PLDASettings(TypesSettings):
    """Settings of PLDA; none was chosen by labels of novel types."""

    standardise: bool = True
    """Whether each feature is divided by its deviation first: for features of different units."""
    types_per_known: int = Field(default=10, ge=1)
    """The most types for each known one, where their number is not given; 40 in all at least."""
    num_parts: int = Field(default=10, ge=0)
    """Parts of the images that the number of types is found in again, for its interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the lower bound on the share of novel types."""


@final
class PLDA(Method):
    """The pooled feature map, and Gaussian types in a linear map of it."""

    settings_type = PLDASettings
    views = ("weak",)
    takes_features = True

    def __init__(
        self, backbone: Backbone, num_known: int, num_classes: int | None, settings: PLDASettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_known, self.num_classes = num_known, num_classes
        self.backbone = backbone
        capacity = num_classes or max(_LEAST_CAPACITY, settings.types_per_known * num_known)
        channels, dim = backbone.channels, settings.dim
        zeros = {
            "shift": (channels,),  # the map, see owdfa.plda.space
            "matrix": (channels, dim),
            "centre": (dim,),
            "whiten": (dim, dim),
            "linear": (dim, capacity),  # of the log-probability, in z and in its square
            "square": (dim, capacity),
            "constant": (capacity,),
            "num_types": (),  # 0 before the fit
            "ratio_linear": (dim, capacity),  # the same of the log10 likelihood ratio
            "ratio_square": (dim, capacity),
            "ratio_constant": (capacity,),
            "calibration": (len(KnownOut.model_fields) + 1,),  # its factor first; 0 without one
            "interval": (2,),  # of the number of types; 0 where there is none
            "novel_share": (),  # a lower bound; below 0 where none holds
        }
        for name, shape in zeros.items():
            self.register_buffer(name, torch.zeros(shape))
        self.num_fitted = 0  # num_types as an integer, so that a graph can be traced
        self.is_calibrated = False  # whether there is a calibration, for the same reason
        self.register_load_state_dict_post_hook(_read_fitted)  # type: ignore[no-untyped-call]

    @property
    def num_active(self) -> int:
        """Number of types; of the known ones, before the fit."""
        return self.num_fitted or self.num_known

    def features(self, images: Float[Tensor, "batch 3 h w"]) -> Features:
        """Compute the mean of the feature map over its places."""
        (maps,) = self.backbone(images)
        return Features(maps.mean(dim=(2, 3)))

    def classify(self, features: Features) -> Float[Tensor, "batch classes"]:
        """Log-probabilities of types over the temperature, up to a constant an image."""
        with torch.autocast(features.embedding.device.type, enabled=False):
            return self._score(features, "linear", "square", "constant")

    def log_ratios(self, features: Features) -> Float[Tensor, "batch classes"] | None:
        """Log10 likelihood ratios of types; none where leave-known-out could not calibrate them."""
        if not self.is_calibrated:
            return None
        with torch.autocast(features.embedding.device.type, enabled=False):
            return self._score(features, "ratio_linear", "ratio_square", "ratio_constant")

    def types_found(self) -> TypesFound | None:
        """The number of types with its interval, the share of novel images, the calibration."""
        if not self.num_fitted:
            return None
        low, high = (int(each) for each in self.get_buffer("interval").tolist())
        _, *measured = self.get_buffer("calibration").tolist()
        share = float(self.get_buffer("novel_share"))
        return TypesFound(
            num_types=self.num_fitted,
            interval=(low, high) if high else None,
            novel_share=share if share >= 0 else None,
            confidence=self.settings.confidence,
            known_out=KnownOut(**dict(zip(KnownOut.model_fields, measured, strict=True)))
            if self.is_calibrated
            else None,
        )

    @torch.no_grad()
    def finish(
        self, embeddings: Float[Tensor, "images dim"], labels: Int[Tensor, "images"]
    ) -> None:
        """Fit the types to the training images."""
        settings, rows, known = self.settings, embeddings.numpy(), labels.numpy()
        most = min(settings.max_types, len(self.get_buffer("constant")))
        settings = settings.model_copy(update={"max_types": most})
        seed = int(torch.randint(2**31, ()))
        fitted = fit(rows, known, self.num_known, settings, num_types=self.num_classes, seed=seed)
        self._keep(fitted)
        if self.num_classes is None and settings.num_parts:
            between = number_of_types(
                rows, known, fitted, settings, num_parts=settings.num_parts, seed=seed
            )
            self.get_buffer("interval").copy_(torch.tensor(between))
        share = -1.0
        if self.backbone.is_frozen:  # one that learnt the labels is surer of labelled images
            share = novel_share(
                rows, known, self.num_known, settings, confidence=settings.confidence, seed=seed
            )
        self.get_buffer("novel_share").fill_(share)

    def _score(self, features: Features, *names: str) -> Tensor:
        """A quadratic function of each type, whose coefficients are in three buffers."""
        parts = (self.get_buffer(name)[..., : self.num_active] for name in names)
        linear, square, constant = parts
        rows = (features.embedding.float() - self.get_buffer("shift")) @ self.get_buffer("matrix")
        rows = normalize(rows) if self.settings.unit_length else rows
        rows = (rows - self.get_buffer("centre")) @ self.get_buffer("whiten")
        return rows @ linear + rows.square() @ square + constant

    def _keep(self, fitted: Fitted) -> None:
        """Write what was fitted into buffers; directions that there are not stay 0."""
        space = fitted.space
        linear, square, constant = fitted.scores()
        ratio_linear, ratio_square, ratio_constant = fitted.ratio_scores()
        measured, found_again = fitted.calibration, fitted.calibration.found
        calibration = np.zeros(len(self.get_buffer("calibration")))
        if found_again is not None:
            calibration[:] = measured.factor, measured.cllr, measured.misled, *found_again[:3]
        found = {
            "shift": space.shift,
            "matrix": space.matrix,
            "centre": space.centre,
            "whiten": space.whiten,
            "linear": linear.T,
            "square": square.T,
            "constant": constant,
            "ratio_linear": ratio_linear.T,
            "ratio_square": ratio_square.T,
            "ratio_constant": ratio_constant,
            "calibration": calibration,
        }
        for name, value in found.items():
            buffer = self.get_buffer(name).zero_()
            buffer[tuple(slice(size) for size in value.shape)] = torch.from_numpy(value)
        self.get_buffer("num_types").fill_(fitted.mixture.num_types)
        _read_fitted(self, None)


def _read_fitted(method: nn.Module, _: object) -> None:
    """Bring plain numbers up to date with the buffers just loaded."""
    assert isinstance(method, PLDA)
    method.num_fitted = int(method.get_buffer("num_types"))
    method.is_calibrated = bool(method.get_buffer("calibration")[0] > 0)
