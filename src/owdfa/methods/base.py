"""The contract between a method and the training loop.

The loop does this with every batch, and a method's file fills in the rest::

    method.begin_step(batch.rows)
    features = [gather(method.features(view)) for view in batch.views]
    losses = method.objective(features, batch.labels, progress)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from owdfa import catalog
from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.records.training import EpochEnd, Features, Losses, Outputs, Progress
from owdfa.records.types_found import TypesFound

View = Literal["weak", "strong"]


class OfficialCheckpoint(NamedTuple):
    """A checkpoint that a method's authors released, in the terms of this library."""

    state: dict[str, Tensor]  # what the method's ``load_state_dict`` takes
    num_classes: int  # that it has room for
    num_active: int  # that are scored


class Method(nn.Module, ABC):
    """A network together with the objective that trains it.

    A method's file defines one final subclass and one ``Settings`` class::

        class CALSettings(Settings): ...
        class CAL(Method):
            settings_type = CALSettings
            def __init__(self, backbone, num_known, num_classes, settings): ...

    Subclasses are final: share code by calling functions, not by inheriting from a method.
    State that changes training and outlives a step is a buffer, so that a checkpoint is complete.
    Parameters and buffers never change their shape; a count of active rows is a buffer.
    A method never sees a process: ``features`` is given the images of one process, ``objective``
    the features of the whole batch.

    Args of every subclass:
        backbone: Gives feature maps, see ``owdfa.backbones.base``.
        num_known: Number of known classes.
        num_classes: Number of classes in all, known and novel; None when it is not known. Never
            None where ``needs_num_classes`` is set, never less than ``num_known``.
        settings: An instance of ``settings_type``.
    """

    settings_type: type[Settings]
    views: tuple[View, ...] = ("weak", "strong")
    """The views of each image that the loader makes, in the order ``objective`` takes them."""
    needs_num_classes: bool = False
    """Whether it cannot be built without the number of classes."""
    discovers: bool = True
    """Whether it tells novel classes apart; otherwise the number of classes does not concern it."""
    uses_unlabelled: bool = True
    """Whether it is trained on unlabelled images as well; otherwise it is given none."""
    takes_features: bool = False
    """Whether it sees images through the last map of its backbone alone, so that features of a
    frozen backbone, (B, channels, 1, 1), serve it in place of images."""
    reconstruction: tuple[str, ...] = ()
    """What had to be chosen where a paper's code and numbers are not public: its file's ``CHOSEN``.
    With anything in it every table calls the method a reconstruction."""
    backbone: Backbone

    @abstractmethod
    def features(self, images: Tensor) -> Features:
        """Compute features of normalised images (B, 3, H, W)."""

    @abstractmethod
    def classify(self, features: Features) -> Tensor:
        """Compute logits (B, num_active) from features; the known classes come first."""

    def log_ratios(self, features: Features) -> Tensor | None:  # noqa: ARG002
        """Compute log10 likelihood ratios (B, num_active): evidence, whatever types are common.

        Of each type against a type that nobody has seen, scaled so that they can be trusted. By
        default none.
        """
        return None

    def types_found(self) -> TypesFound | None:
        """What ``finish`` found of all training images together. By default nothing."""
        return None

    def fit_input(self, images: Tensor) -> Tensor:
        """Compute what ``finish`` is given of images (B, 3, H, W): by default embeddings.

        The statistics of classes that a run keeps are of these.

        A method that makes its embedding by what it fits overrides it.
        """
        return self.features(images).embedding

    def objective(
        self,
        views: tuple[Features, ...],
        labels: Tensor,
        progress: Progress,
    ) -> Losses:
        """Compute the training objective of a whole batch.

        A method that is fitted by ``finish`` alone, and not trained, leaves it out.

        Args:
            views: Features of each of ``views``.
            labels: (B,) int64: class index, or ``UNLABELLED``.
            progress: Where the training is.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    @classmethod
    def is_trained(cls) -> bool:
        """Whether there is an objective; otherwise a run of it has no epochs."""
        return cls.objective is not Method.objective

    def begin_training(self, labels: Tensor) -> None:
        """Take note of the training images, before the first step and on resuming.

        By default nothing.

        Args:
            labels: (N,) int64 of all of them: class index, or ``UNLABELLED``.

        Raises:
            UserError: The method cannot be trained on them.
        """

    def begin_step(self, rows: Tensor) -> None:
        """Take note of which training images the next batch holds. By default nothing.

        Args:
            rows: (B,) int64, indices into the labels of ``begin_training``.
        """

    def end_epoch(self, progress: Progress) -> EpochEnd:  # noqa: ARG002
        """Update what changes once an epoch; return what to log. By default nothing."""
        return EpochEnd({})

    def finish(self, embeddings: Tensor, labels: Tensor) -> None:
        """Fit buffers to the whole training set after the last epoch. By default nothing.

        A method that overrides it is given the embeddings of its training images.

        Args:
            embeddings: (N, D) float32, what ``fit_input`` made of plain views in evaluation mode;
                on the CPU.
            labels: (N,) int64: class index, or ``UNLABELLED``; on the CPU.
        """

    @classmethod
    def class_axes(
        cls, backbone: Backbone, num_known: int, num_classes: int | None, settings: Settings
    ) -> dict[str, int]:
        """Which axis of a tensor of its state runs over classes, the known ones first; by name.

        By these axes a run is continued in which the classes are others, or in another order. By
        default the first axis that is longer in a network of one more known class; a method whose
        shapes do not tell overrides it. The arguments are those of the class.
        """
        with torch.random.fork_rng(devices=[]):
            state, larger = (
                cls(backbone, num_known + n, num_classes and num_classes + n, settings).state_dict()
                for n in (0, 1)
            )
        axes = {}
        for name, tensor in state.items():
            sizes = zip(tensor.shape, larger[name].shape, strict=True)
            axes[name] = next((axis for axis, (a, b) in enumerate(sizes) if a != b), -1)
        return {name: axis for name, axis in axes.items() if axis >= 0}

    @classmethod
    def from_official(cls, weights: Mapping[str, Tensor]) -> OfficialCheckpoint | None:  # noqa: ARG003
        """Translate a checkpoint of the method's authors; None for what is none.

        By default no form of them is known.

        Args:
            weights: Tensors under the authors' names.
        """
        return None

    @property
    @abstractmethod
    def num_active(self) -> int:
        """Number of active classes: the width of the logits."""

    @final  # type: ignore[misc]  # torch declares forward as an attribute
    def forward(self, images: Tensor) -> Outputs:
        """Compute logits and embedding of normalised images (B, 3, H, W)."""
        features = self.features(images)
        return Outputs(self.classify(features), features.embedding, self.log_ratios(features))


def method_type(name: str) -> type[Method]:
    """The one method that the file of ``name`` defines.

    Raises:
        UserError: There is no such file, or it does not define one method.
    """
    module = catalog.load("methods", name)
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise UserError(f"method {name!r}: its file must define one method, it has {len(own)}")
    return own[0]


def build_method(
    name: str, backbone: Backbone, num_known: int, num_classes: int | None, settings: Settings
) -> Method:
    """Build the method ``name`` on top of ``backbone``.

    Raises:
        UserError: There is no such method, it needs the number of classes, or there are fewer
            classes than known ones.
    """
    own = method_type(name)
    if num_classes is None and own.needs_num_classes:
        raise UserError(
            f"method {name}: needs the number of classes, known and novel; give it with"
            " --classes N, or have it estimated with --classes auto:gcd"
        )
    if num_classes is not None and num_classes < num_known:
        raise UserError(
            f"{num_classes} classes are fewer than the {num_known} known ones;"
            " give their number in all (--classes), or auto"
        )
    return own(backbone, num_known, num_classes, settings)
