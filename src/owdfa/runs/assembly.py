"""From settings to a network: find the method's file, build its backbone, put them together."""

from owdfa.backbones.base import Backbone, build
from owdfa.methods.base import Method, build_method
from owdfa.runs.settings import RunSettings


def empty_method(settings: RunSettings, num_known: int) -> Method:
    """Build the network, to be filled from a checkpoint."""
    return assemble(settings, num_known, build(settings.backbone.name, None))


def assemble(settings: RunSettings, num_known: int, backbone: Backbone) -> Method:
    """Put the method of ``settings`` on top of ``backbone``.

    Raises:
        UserError: There is no such method, or the number of classes does not fit.
    """
    num_classes = None if settings.classes == "auto" else settings.classes
    return build_method(settings.method.name, backbone, num_known, num_classes, settings.method)
