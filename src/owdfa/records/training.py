"""What passes between loader, method and training loop, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the stages without a network do not wait for torch
    import torch
    from torch import Tensor
    from torch.nn import Parameter

UNLABELLED = -1


@dataclass(frozen=True)
class Batch:
    """What training may see. The true label of an unlabelled image is not in here.

    In several processes each has the views of b of the B images, and all labels and rows.
    """

    views: tuple["Tensor", ...]  # each (b, 3, H, W) uint8; in the method's order
    labels: "Tensor"  # (B,) int64: class index, or UNLABELLED
    rows: "Tensor"  # (B,) int64: row in the training table

    def to(self, device: "torch.device | str") -> "Batch":
        """Copy to a device."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        labels = self.labels.to(device, non_blocking=True)
        rows = self.rows.to(device, non_blocking=True)
        return replace(self, views=views, labels=labels, rows=rows)

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory, from where a GPU fetches it while it computes."""
        views = tuple(view.pin_memory() for view in self.views)
        return replace(
            self, views=views, labels=self.labels.pin_memory(), rows=self.rows.pin_memory()
        )

    @property
    def labelled(self) -> "Tensor":
        """(B,) bool: which images carry a label."""
        return self.labels != UNLABELLED


class Progress(NamedTuple):
    """Where a run stands. Both integers, so that each paper's schedule can be written exactly."""

    epoch: int  # 0 in the first epoch
    epochs: int


class Features(NamedTuple):
    """What a method's network makes of a batch of images; every tensor has B rows."""

    embedding: "Tensor"  # (B, D), one vector an image
    maps: tuple["Tensor", ...] = ()  # feature maps that the objective needs, if any
    parts: Mapping[str, "Tensor"] = MappingProxyType({})  # what a head made, by name; (B, ...)


class Outputs(NamedTuple):
    """What a method says of images."""

    logits: "Tensor"  # (B, C), one an active class; the known classes come first
    embedding: "Tensor"  # (B, D), the feature that the logits are computed from
    log_ratios: "Tensor | None" = None  # (B, C), see ``Method.log_ratios``; None without


class Losses(NamedTuple):
    """The scalar to minimise, and its terms under their names in the paper."""

    total: "Tensor"
    terms: dict[str, "Tensor"]  # detached or not; logged by name
    logits: "Tensor"  # (B, C) of the first view, whole batch, detached: accuracy is logged from it


class RowMove(NamedTuple):
    """Rows of a parameter that changed place, so that the optimiser's moments can follow."""

    parameter: "Parameter"
    sources: "Tensor"  # (C_new,) int64: row j now holds what row sources[j] held; the rest is void


class EpochEnd(NamedTuple):
    """What a method did between two epochs."""

    log: dict[str, float]
    moves: tuple[RowMove, ...] = ()
