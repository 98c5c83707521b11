"""From settings to a network: find the method's file, build its backbone, put them together."""

import torch

from owdfa.backbones.base import Backbone, build
from owdfa.methods.base import Method, build_method
from owdfa.runs.settings import RunSettings


def empty_method(settings: RunSettings, num_known: int) -> Method:
    """Build the network, to be filled from a checkpoint."""
    return assemble(settings, num_known, build(settings.backbone.name, None))


def check_method(settings: RunSettings, num_known: int) -> None:
    """Check that a method can be built and takes its images, by showing it two blank ones.

    Raises:
        UserError: It cannot; found now, and not after the trainings that come before.
    """
    size = settings.data.views.size
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        empty_method(settings, num_known).features(torch.zeros(2, 3, size, size))


def assemble(settings: RunSettings, num_known: int, backbone: Backbone) -> Method:
    """Put the method of ``settings`` on top of ``backbone``.

    Raises:
        UserError: There is no such method, or the number of classes does not fit.
    """
    num_classes = None if settings.classes == "auto" else settings.classes
    return build_method(settings.method.name, backbone, num_known, num_classes, settings.method)
