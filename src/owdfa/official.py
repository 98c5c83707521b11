"""Checkpoints of CAL as its authors publish them."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from owdfa.backbones.base import Backbone
from owdfa.errors import UserError
from owdfa.methods.cal import CAL, CALSettings
from owdfa.weights import read_state

_NAMES = (
    ("encoder.encoder.", "backbone.network."),
    ("encoder.fft_attn_module.freq_attn_net.", "ffe.mask."),
    ("encoder.bottleneck.", "neck.norm."),
)
_PROTOTYPES = "encoder.fc2"
_UNUSED = "encoder.encoder.fc."  # the classifier of the backbone's pre-training


class Official(NamedTuple):
    """A released checkpoint in the terms of this library."""

    state: dict[str, Tensor]  # what ``CAL.load_state_dict`` takes
    num_classes: int  # prototypes that there is room for
    num_live: int  # those that live


def read_official(path: Path) -> Official:
    """Read a released checkpoint of CAL.

    The release does not save how many prototypes live: pruned rows are zero, and all at the end.
    Nor does it save the novel threshold, which only further training would need; it starts at 0.

    Raises:
        UserError: The file cannot be read without unpickling, or is no checkpoint of CAL.
    """
    found = read_state(path)
    prototypes = found.get(_PROTOTYPES)
    if prototypes is None or prototypes.dim() != 2:
        raise UserError(
            f"{path}: is no released checkpoint of CAL; it lacks {_PROTOTYPES!r}, the prototypes"
        )
    state = {}
    for name, value in found.items():
        for theirs, ours in _NAMES:
            if name.startswith(theirs) and not name.startswith(_UNUSED):
                state[ours + name.removeprefix(theirs)] = value
    num_classes = len(prototypes)
    num_live = num_classes - int(prototypes.flip(0).eq(0).all(dim=1).int().cumprod(0).sum())
    state["prototypes.vectors"] = prototypes
    state["prototypes.live"] = torch.tensor(num_live)
    state["novel_threshold"] = torch.zeros((), dtype=prototypes.dtype)
    state["agreed"] = torch.zeros(2, 2, dtype=prototypes.dtype)
    state["usage"] = torch.zeros(num_classes, dtype=torch.int64)
    return Official(state, num_classes, num_live)


def import_official(path: Path, backbone: Backbone, num_known: int, num_classes: int) -> CAL:
    """Turn a released checkpoint into a CAL that predicts.

    Args:
        path: The checkpoint.
        backbone: Of the architecture that it was trained with, for the release a ResNet-50 of timm.
        num_known: Known classes of the protocol that it was trained on.
        num_classes: All classes of that protocol.

    Raises:
        UserError: The file cannot be read, or does not belong to the protocol or the backbone.
    """
    official = read_official(path)
    settings = CALSettings()
    unknown = settings.prototypes_per_known * num_known
    if official.num_classes not in (num_classes, unknown) or official.num_live < num_known:
        raise UserError(
            f"{path}: has {official.num_classes} prototypes ({official.num_live} live); a protocol"
            f" of {num_known} known classes among {num_classes} asks for {num_classes}, or for"
            f" {unknown} when their number was unknown; name the protocol that it was trained on"
        )
    told = num_classes if official.num_classes == num_classes else None
    method = CAL(backbone, num_known, told, settings)
    own = method.state_dict()
    wrong = [
        name
        for name in own.keys() | official.state.keys()
        if name not in own
        or name not in official.state
        or own[name].shape != official.state[name].shape
    ]
    if wrong:
        raise UserError(
            f"{path}: was not trained with backbone {backbone.name} ({len(wrong)} weights do not"
            f" fit, e.g. {min(wrong)!r}); name its own with --backbone"
        )
    method.load_state_dict(official.state)
    return method
