"""From settings to a network: find the method's file, build its backbone, put them together."""

from owdfa.backbones.base import Backbone, build
from owdfa.methods.base import Method, method_type
from owdfa.runs.settings import RunSettings
from owdfa.weights import Undrawn


def empty_method(settings: RunSettings, num_known: int) -> Method:
    """Build the network without first weights, to be filled from a checkpoint."""
    with Undrawn():
        return assemble(settings, num_known, build(settings.backbone.name, None))


def assemble(settings: RunSettings, num_known: int, backbone: Backbone) -> Method:
    """Put the method of ``settings`` on top of ``backbone``.

    Raises:
        UserError: There is no such method.
    """
    num_classes = None if settings.classes == "auto" else settings.classes
    return method_type(settings.method.name)(backbone, num_known, num_classes, settings.method)
