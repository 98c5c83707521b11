"""The network that a training begins with: its backbone new, pre-trained, or of an earlier run."""

from pathlib import Path

import torch

from owdfa.backbones.base import Backbone, build
from owdfa.errors import UserError
from owdfa.methods.base import Method, method_type
from owdfa.runs.run import Run, assemble, empty_method
from owdfa.runs.settings import RunSettings
from owdfa.weights import load_weights_strict


def check_method(settings: RunSettings, num_known: int) -> None:
    """Check that a method can be built and takes its images, by showing it two blank ones.

    Raises:
        UserError: It cannot, or its first weights know labels that it must not; found now, and not
            after the trainings that come before.
    """
    weights = Path(settings.backbone.weights)
    earlier = Run.open(weights).metadata.provenance if Run.exists(weights) else None
    if earlier is not None and earlier.labels == "all" and settings.labels != "all":
        raise UserError(
            f"{weights}: was trained on hidden labels (labels=all), which this run must not know;"
            " name other weights with --weights"
        )
    _check_fitted(settings)
    size = settings.data.views.size
    if settings.estimator is not None:  # whatever the estimate will be
        settings = settings.with_classes(num_known)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        empty_method(settings, num_known).features(torch.zeros(2, 3, size, size))


def _check_fitted(settings: RunSettings) -> None:
    """Check that a method which is only fitted has no epochs, and a network that knows something.

    Raises:
        UserError: It is not so.
    """
    name = settings.method.name
    if method_type(name).is_trained():
        return
    if settings.epochs:
        raise UserError(f"method {name}: is fitted and not trained; set epochs=0")
    if not settings.stages and begins_random(settings):
        raise UserError(
            f"method {name}: is fitted to features of {settings.backbone.name}, whose weights would"
            " be random; name some with --weights (package, hub, a file or a run), or add"
            " --set backbone.name=frozen/residual, which needs none"
        )


def begins_random(settings: RunSettings) -> bool:
    """Whether the backbone has weights, and they are random at the start."""
    if settings.backbone.weights != "none":
        return False
    with torch.random.fork_rng(devices=[]):
        return any(True for _ in build(settings.backbone.name, None).parameters())


def initial_method(settings: RunSettings, num_known: int, earlier: Path | None = None) -> Method:
    """Build the network to train, with the backbone's weights at the start.

    Args:
        settings: Of the run.
        num_known: Number of known classes.
        earlier: A run to take the backbone from, in place of what the settings say.

    Raises:
        UserError: The method, the backbone or its weights are not available.
    """
    return assemble(settings, num_known, initial_backbone(settings, earlier))


def initial_backbone(settings: RunSettings, earlier: Path | None = None) -> Backbone:
    """Build the backbone with its weights at the start.

    Args:
        settings: Of the run.
        earlier: A run to take it from, in place of what the settings say.

    Raises:
        UserError: The backbone or its weights are not available.
    """
    name, weights = settings.backbone.name, str(earlier or settings.backbone.weights)
    if not Run.exists(Path(weights)):
        return build(name, None if weights == "none" else weights)
    backbone = build(name, None)
    with torch.random.fork_rng(devices=[]):  # what is drawn for it is overwritten at once
        trained = Run.open(Path(weights)).method().backbone
    load_weights_strict(backbone, trained.state_dict(), weights)
    return backbone
