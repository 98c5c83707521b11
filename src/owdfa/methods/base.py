"""What the training loop asks of a method, and nothing more."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from owdfa import catalog
from owdfa.backbones.base import Backbone
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.records.training import Batch, EpochEnd, Losses, Outputs, Progress


class Method(nn.Module, ABC):
    """A network together with the rule that trains it.

    A method's file defines one final subclass and one ``Settings`` class::

        class CALSettings(Settings): ...
        class CAL(Method):
            settings_type = CALSettings
            def __init__(self, backbone, num_known, num_classes, settings): ...

    Subclasses are final: share code by calling functions, not by inheriting from a method.
    Anything that changes training and outlives a step is a buffer, so a checkpoint holds it whole.
    Parameters and buffers keep their shape from first to last; a count of live rows is a buffer.
    In several processes the views of a batch are those of this one's images, the labels those of
    the whole batch: pass logits through ``owdfa.distributed.joined`` before anything is computed
    over images.

    Args of every subclass:
        backbone: Gives feature maps, see ``owdfa.backbones.base``.
        num_known: Number of known classes.
        num_classes: Number of classes in all, known and novel; None when it is not known.
        settings: An instance of ``settings_type``.
    """

    settings_type: type[Settings]
    uses_unlabelled = True
    """Whether unlabelled images are of any use to it; otherwise it is given none."""
    backbone: Backbone

    @abstractmethod
    def forward(self, images: Tensor) -> Outputs:
        """Score normalised images (B, 3, H, W) against every class that lives."""

    @abstractmethod
    def losses(self, batch: Batch, progress: Progress) -> Losses:
        """Compute the training objective of one batch, and note what the epoch's end needs."""

    @abstractmethod
    def end_epoch(self, progress: Progress) -> EpochEnd:
        """Update whatever changes once per epoch; say what is worth logging."""

    @property
    @abstractmethod
    def num_live(self) -> int:
        """Number of classes that live: the width of the logits."""


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
