"""A method as one ONNX graph: from uint8 crops to probabilities."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from owdfa.errors import UserError
from owdfa.loading.pixels import resize_taps, scale_and_shift
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.runs.bundle import INPUT, OUTPUTS

_MAX_BYTES = 2**31 - 2**24  # of weights: one ONNX file is one message of at most 2 GiB
_EXACT_IN_FLOAT32 = 2**16  # units in 1, so that 255 times a sum of weights stays below 2**24


@final
class Graph(nn.Module):
    """What is exported: resize and normalise as the plain view does, then the method.

    Args:
        method: In evaluation mode.
        view: What the method is shown.
        store_size: Side of the crops.
    """

    def __init__(self, method: Method, view: PlainView, store_size: int) -> None:
        super().__init__()
        self.method = method
        self.resize = None if store_size == view.size else _Resize(store_size, view.size)
        scale, shift = scale_and_shift(view.mean, view.std)
        self.scale: Tensor
        self.register_buffer("scale", torch.from_numpy(scale))
        self.shift: Tensor
        self.register_buffer("shift", torch.from_numpy(shift))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn crops (B, S, S, 3) uint8 into probabilities, logits (B, C) and embedding (B, D)."""
        levels = crops.permute(0, 3, 1, 2).to(torch.float32)
        if self.resize is not None:
            levels = self.resize(levels)
        outputs = self.method(levels * self.scale + self.shift)
        return outputs.logits.softmax(dim=1), outputs.logits, outputs.embedding


@final
class _Resize(nn.Module):
    """Bilinear resize with antialiasing of whole levels, as torch does it on uint8: the same bits.

    Its weights are multiples of a power of two, and each direction is rounded to whole levels, rows
    first. In units of that power all numbers are integers that a float holds exactly.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        first, taps, unit = resize_taps(before, after)
        place = first[:, None] + np.arange(taps.shape[1])
        weights = np.zeros((after, before + taps.shape[1]))  # those beyond the image are 0
        np.put_along_axis(weights, place, taps * unit, axis=1)
        dtype = torch.float32 if unit <= _EXACT_IN_FLOAT32 else torch.float64
        self.weights: Tensor
        self.register_buffer("weights", torch.from_numpy(weights[:, :before]).to(dtype))
        self.unit = float(unit)

    def forward(self, levels: Tensor) -> Tensor:
        """Turn (B, 3, S, S) into (B, 3, size, size), float32 that holds integers from 0 to 255."""
        rows = self._rounded(levels.to(self.weights.dtype) @ self.weights.T)
        return self._rounded(self.weights @ rows).to(torch.float32)

    def _rounded(self, sums: Tensor) -> Tensor:
        return ((sums + self.unit / 2) / self.unit).floor().clamp(0, 255)


def to_onnx(graph: Graph, crops: np.ndarray) -> Any:
    """Export a graph: an ``onnx.ModelProto`` for batches of any size.

    Args:
        graph: What to export.
        crops: (B, S, S, 3) uint8, some images to trace it with; B is at least 2.

    Raises:
        UserError: The method cannot be exported, or is too large for one file.
    """
    num_bytes = sum(each.nbytes for each in graph.state_dict().values())
    if num_bytes > _MAX_BYTES:
        raise UserError(
            f"{num_bytes:,} bytes of weights: an ONNX file holds at most {_MAX_BYTES:,};"
            " take a smaller backbone"
        )
    images = torch.from_numpy(crops)
    dynamic = {"crops": {0: torch.export.Dim("batch")}}
    with torch.no_grad(), _quiet():
        graph(images)  # matrices of the DCT are made once and kept: now, while they are real
        try:
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=dynamic,
                verbose=False,
            )
        except Exception as error:  # exporters raise what they like
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise UserError(
                f"method {type(graph.method).__name__} on {graph.method.backbone.name}:"
                f" cannot be exported ({reason})"
            ) from error
    assert program is not None
    return _bare(program.model_proto)


def _bare(model: Any) -> Any:
    """Take out what the exporter notes of this machine: places in its source files."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own remarks from the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
