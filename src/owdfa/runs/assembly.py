"""From settings to a network: find the method's file, build its backbone, put them together."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from owdfa import catalog
from owdfa.backbones.base import Backbone, build
from owdfa.errors import UserError
from owdfa.methods.base import Method
from owdfa.runs import checkpoint
from owdfa.weights import fit

if TYPE_CHECKING:
    from owdfa.runs.settings import RunSettings

_PREFIX = "backbone."  # of a method's weights that are its backbone's


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


def build_method(settings: "RunSettings", num_known: int, warm_start: Path | None = None) -> Method:
    """Build the network to train, with the backbone's first weights.

    Args:
        settings: Of the run.
        num_known: Number of known classes.
        warm_start: A run to take the backbone from, in place of what the settings say.

    Raises:
        UserError: The method, the backbone or its weights cannot be had.
    """
    name, weights = settings.backbone.name, str(warm_start or settings.backbone.weights)
    if (Path(weights) / "run.json").is_file():
        backbone = build(name, None)
        fit(backbone, _backbone_of(Path(weights)), weights)
    else:
        backbone = build(name, None if weights == "none" else weights)
    return _put_together(settings, num_known, backbone)


def empty_method(settings: "RunSettings", num_known: int) -> Method:
    """Build the network without first weights, to be filled from a checkpoint."""
    return _put_together(settings, num_known, build(settings.backbone.name, None))


def _put_together(settings: "RunSettings", num_known: int, backbone: Backbone) -> Method:
    num_classes = None if settings.classes == "auto" else settings.classes
    return method_type(settings.method.name)(backbone, num_known, num_classes, settings.method)


def _backbone_of(run: Path) -> dict[str, Tensor]:
    """The backbone's weights of an earlier run."""
    from owdfa.runs.run import Run

    weights = checkpoint.read_weights(Run.open(run).checkpoint)
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in weights.items()
        if name.startswith(_PREFIX)
    }
