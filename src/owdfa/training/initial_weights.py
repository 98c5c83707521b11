"""The network that a training begins with: its backbone new, pre-trained, or of an earlier run."""

from pathlib import Path

from torch import Tensor

from owdfa.backbones.base import build
from owdfa.methods.base import Method
from owdfa.runs import checkpoint
from owdfa.runs.run import Run, assemble
from owdfa.runs.settings import RunSettings
from owdfa.weights import load_weights_strict

_PREFIX = "backbone."  # of a method's weights that are its backbone's


def initial_method(settings: RunSettings, num_known: int, earlier: Path | None = None) -> Method:
    """Build the network to train, with the backbone's weights at the start.

    Args:
        settings: Of the run.
        num_known: Number of known classes.
        earlier: A run to take the backbone from, in place of what the settings say.

    Raises:
        UserError: The method, the backbone or its weights are not available.
    """
    name, weights = settings.backbone.name, str(earlier or settings.backbone.weights)
    if Run.exists(Path(weights)):
        backbone = build(name, None)
        load_weights_strict(backbone, _backbone_of(Path(weights)), weights)
    else:
        backbone = build(name, None if weights == "none" else weights)
    return assemble(settings, num_known, backbone)


def _backbone_of(run: Path) -> dict[str, Tensor]:
    """The backbone's weights of an earlier run."""
    weights = checkpoint.read_weights(Run.open(run).checkpoint)
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in weights.items()
        if name.startswith(_PREFIX)
    }
