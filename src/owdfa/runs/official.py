"""Checkpoints of CAL as its authors publish them."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from owdfa.errors import UserError
from owdfa.methods.cal import CALSettings
from owdfa.protocols import Protocol, read_protocol
from owdfa.runs.run import Run, create_imported, empty_method
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.weights import load_weights_strict, read_state

_NAMES = {
    "encoder.encoder.": "backbone.network.",
    "encoder.fft_attn_module.freq_attn_net.": "ffe.mask.",
    "encoder.bottleneck.": "neck.norm.",
}
_PROTOTYPES = "encoder.fc2"
_UNUSED = "encoder.encoder.fc."  # the classifier of the backbone's pre-training


class Official(NamedTuple):
    """A released checkpoint in the terms of this library."""

    state: dict[str, Tensor]  # what ``CAL.load_state_dict`` takes
    num_classes: int  # prototypes that there is room for
    num_active: int  # those that live


def import_checkpoint(
    file: Path, output: Path, *, method: str, protocol: str, backbone: str, size: int
) -> Run:
    """Turn a released checkpoint into a run that predicts.

    Args:
        file: The checkpoint.
        output: The run folder to make.
        method: Its method; only ``"cal"`` has released checkpoints in a form that is known here.
        protocol: The protocol that it was trained on, e.g. ``"owdfa40/p1"``: names its classes.
        backbone: Its network; for the release, ``"timm/resnet50"``.
        size: Side of its input images in pixels.

    Raises:
        UserError: The file cannot be read without unpickling, is no checkpoint of CAL, or does not
            belong to the protocol or the backbone; or ``output`` holds a run already.
    """
    if method != "cal":
        raise UserError(f"{file}: checkpoints of {method!r} cannot be imported, only those of cal")
    official, classes = read_official(file), read_protocol(protocol)
    if any("*" in name for name in (*classes.known, *classes.novel)):
        raise UserError(
            f"protocol {protocol}: names classes by pattern; a checkpoint needs every name"
        )
    settings = _settings(official, classes, file, backbone, size)
    # Checked here, so that a misfit is told of the file.
    load_weights_strict(empty_method(settings, len(classes.known)), official.state, str(file))
    # The release detects faces as it tests, and resizes them to the size of the input at once.
    return create_imported(
        output, settings, classes.known, official.state, faces="dlib", store_size=size
    )


def read_official(path: Path) -> Official:
    """Read a released checkpoint of CAL.

    The release does not save how many prototypes live: pruned rows are zero, and all at the end.
    Nor does it save the novel threshold, which only further training would need; it starts at 0.

    Raises:
        UserError: The file cannot be read without unpickling, or is no checkpoint of CAL.
    """
    found = read_state(path)
    prototypes = found.get(_PROTOTYPES)
    if prototypes is None or prototypes.dim() != 2 or not prototypes.any():
        raise UserError(
            f"{path}: is no released checkpoint of CAL; it lacks {_PROTOTYPES!r}, the prototypes"
        )
    num_classes, num_active = len(prototypes), int(prototypes.any(dim=1).nonzero().max()) + 1
    state = {
        ours + name.removeprefix(theirs): tensor
        for name, tensor in found.items()
        for theirs, ours in _NAMES.items()
        if name.startswith(theirs) and not name.startswith(_UNUSED)
    }
    state["prototypes.vectors"] = prototypes
    state["prototypes.active"] = torch.tensor(num_active)
    state["novel_threshold"] = torch.zeros(())
    state["agreement"] = torch.zeros(2, 2)
    state["usage"] = torch.zeros(num_classes, dtype=torch.int64)
    return Official(state, num_classes, num_active)


def _settings(
    official: Official, protocol: Protocol, file: Path, backbone: str, size: int
) -> RunSettings:
    """The settings of the run, after the number of prototypes was checked against the protocol."""
    num_known, num_all = len(protocol.known), len(protocol.known) + len(protocol.novel)
    unknown = CALSettings().prototypes_per_known * num_known
    if official.num_classes not in (num_all, unknown) or official.num_active < num_known:
        raise UserError(
            f"{file}: has {official.num_classes} prototypes, {official.num_active} of them live; a"
            f" protocol of {num_all} classes, {num_known} of them known, asks for {num_all}, or for"
            f" {unknown} when their number was not known; name its own with --protocol"
        )
    classes: int | Literal["auto"] = num_all if official.num_classes == num_all else "auto"
    return load_settings(
        explicit={
            "method": {"name": "cal"},
            "backbone": {"name": backbone},
            "data": {"views": {"size": size}},
            "classes": classes,
            "selection": "oracle",  # the release picks its checkpoints by test labels
        }
    )
