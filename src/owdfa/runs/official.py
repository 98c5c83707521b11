"""Checkpoints as the authors of a method publish them, made into runs that predict."""

from pathlib import Path

from owdfa.errors import UserError
from owdfa.methods.base import OfficialCheckpoint, method_type
from owdfa.protocols import Protocol, read_protocol
from owdfa.runs.run import Run, create_imported, empty_method
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.weights import load_weights_strict, read_state


def import_checkpoint(
    file: Path, output: Path, *, method: str, protocol: str, backbone: str, size: int
) -> Run:
    """Turn a released checkpoint into a run that predicts.

    Args:
        file: The checkpoint.
        output: The run folder to make.
        method: Its method.
        protocol: The protocol that it was trained on, e.g. ``"owdfa40/p1"``: names its classes.
        backbone: Its network; for the releases, ``"timm/resnet50"``.
        size: Side of its input images in pixels.

    Raises:
        UserError: The file cannot be read without unpickling, is no checkpoint of the method, or
            does not belong to the protocol or the backbone; or ``output`` holds a run already.
    """
    official, classes = read_official(file, method), read_protocol(protocol)
    if any("*" in name for name in (*classes.known, *classes.novel)):
        raise UserError(
            f"protocol {protocol}: names classes by pattern; a checkpoint needs every name"
        )
    table = {
        "method": {"name": method},
        "backbone": {"name": backbone},
        "data": {"views": {"size": size}},
        "selection": "oracle",  # the releases pick their checkpoints by test labels
    }
    settings = _with_classes(load_settings(explicit=table), official, classes, file)
    # Checked here, so that a misfit is told of the file.
    load_weights_strict(empty_method(settings, len(classes.known)), official.state, str(file))
    # The releases detect faces as they test, and resize them to the size of the input at once.
    return create_imported(
        output, settings, classes.known, official.state, faces="dlib", store_size=size
    )


def read_official(path: Path, method: str) -> OfficialCheckpoint:
    """Read a released checkpoint of a method.

    Raises:
        UserError: The file cannot be read without unpickling, or is no checkpoint of the method in
            a form that its file in ``owdfa/methods/`` knows.
    """
    own, weights = method_type(method), read_state(path)
    official = own.from_official(weights)
    if official is None:
        raise UserError(
            f"{path}: is no checkpoint of {method} as its authors release them; name its own method"
            " with --method, or train with owdfa train"
        )
    return official


def _with_classes(
    settings: RunSettings, official: OfficialCheckpoint, protocol: Protocol, file: Path
) -> RunSettings:
    """The settings with the number of classes, or ``auto`` where it was not known."""
    num_known, num_all = len(protocol.known), len(protocol.known) + len(protocol.novel)
    expected = {num_all: settings.model_copy(update={"classes": num_all})}
    if not method_type(settings.method.name).needs_num_classes:
        unknown = settings.model_copy(update={"classes": "auto"})
        expected.setdefault(empty_method(unknown, num_known).num_active, unknown)
    if official.num_classes not in expected or official.num_active < num_known:
        raise UserError(
            f"{file}: has {official.num_classes} classes, {official.num_active} of them active; a"
            f" protocol of {num_all} classes, {num_known} of them known, asks for"
            f" {' or '.join(map(str, expected))}; name its own with --protocol"
        )
    return expected[official.num_classes]
