"""A method as one ONNX graph, from uint8 crops to probabilities, and the file that holds it.

Nothing is written that says something else than the method on real crops.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from owdfa.backbones.base import scale_and_shift
from owdfa.errors import UserError
from owdfa.files import atomic
from owdfa.images.decode import DECODER
from owdfa.images.faces import ENLARGE
from owdfa.images.store import Store
from owdfa.inference.network import TorchSession
from owdfa.inference.onnx_file import (
    INPUT,
    OUTPUTS,
    RATIOS,
    ModelNote,
    OnnxSession,
    Parity,
    is_model,
    properties_of,
    read_model,
)
from owdfa.inference.session import FEW
from owdfa.loading.pixels import resize_taps
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.calibration import Calibration
from owdfa.records.predictions import class_names
from owdfa.runs import checkpoint
from owdfa.runs.run import Run

BOUND = 1e-4
"""How far a probability may be from the network's."""
RELATIVE_BOUND = 1e-3
"""How far an embedding or a likelihood ratio may be, relative to the largest: whitening magnifies
the rounding of features, and nothing is decided by so little."""
NUM_CHECKED = 32
"""Crops that both are compared on."""

_TINY = 1e-30  # an embedding of zeros has no scale
_CROP_RULE = (
    "first frame, turned upright by its EXIF orientation, RGB, transparency over white, no colour"
    " profile; cut to the box of the surest face, enlarged `enlarge` times about its centre and"
    " clipped to the image, or left whole where `faces` is none or finds none; resized to"
    " `store_size` x `store_size` by Pillow, bilinear, whatever its proportions; where `fit` is"
    " native, instead a square of that size at the image's own resolution, about the centre of the"
    " box or the image, moved inside it, mirrored at the edges of an image that is smaller"
)
_MAX_BYTES = 2**31 - 2**24  # of weights: one ONNX file is one message of at most 2 GiB
_EXACT_IN_FLOAT32 = 2**16  # units in 1, so that 255 times a sum of weights stays below 2**24


class CheckedCrops(NamedTuple):
    """Crops that a graph and its method are compared on."""

    name: str  # for the record
    pixels: np.ndarray  # (B, S, S, 3) uint8


def write_model(run: Run, output: Path, checked: CheckedCrops) -> ModelNote:
    """Write the network of a run as one ONNX file, when it says the same as the method.

    Args:
        run: The run, which has a checkpoint that predicts.
        output: The file to write.
        checked: Crops to compare both on.

    Returns:
        What the file says of itself.

    Raises:
        UserError: The exporter is not installed, the method cannot be exported, or the graph says
            something else; nothing is written then.
    """
    onnx = _require("onnx")
    _require("onnxscript")
    metadata, method = run.metadata, run.method()
    view = PlainView(metadata.image_size, metadata.mean, metadata.std)
    graph = Graph(method, view, metadata.store_size).eval()
    crops = np.resize(checked.pixels, (2, *checked.pixels.shape[1:]))
    content: bytes = to_onnx(graph, crops).SerializeToString()
    parity = check_parity(content, TorchSession(method, view, "32-true"), checked)
    note = _note(run, method.num_active, len(content), parity)
    # Messages of protobuf one after the other are one message.
    end = onnx.ModelProto()
    onnx.helper.set_model_props(end, properties_of(content, note))
    with atomic(output, is_model) as temporary:
        temporary.write_bytes(content + end.SerializeToString())
    return note


def ensure_model(run: Run, store: Store, ids: Mapping[str, list[str]]) -> Run:
    """Write ``model.onnx`` of a complete run where its settings want one and it is not there.

    Where that fails, run.json says why, and the run predicts by PyTorch.

    Args:
        run: The run.
        store: Its crops.
        ids: Images of its split by role; some of the first role that has any are compared on.

    Returns:
        The run.
    """
    role = next((role for role, found in ids.items() if found), None)
    if not run.settings.onnx or role is None or _is_there(run):
        return run
    places = np.unique(np.linspace(0, len(ids[role]) - 1, NUM_CHECKED).astype(int))
    pixels = store.crops(store.rows([ids[role][place] for place in places]))[:]
    try:
        write_model(run, run.model, CheckedCrops(f"split:{role}", pixels))
    except UserError as error:
        return run.update(model_error=str(error))
    return run.update(model_error=None) if run.metadata.model_error else run


def _is_there(run: Run) -> bool:
    """Whether ``model.onnx`` is of the run's weights."""
    try:
        note, _ = read_model(run.model)
    except UserError:
        return False
    return note.provenance.weights_digest == run.metadata.provenance.weights_digest


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
        self.register_buffer("scale", scale)
        self.shift: Tensor
        self.register_buffer("shift", shift)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Turn crops (B, S, S, 3) uint8 into probabilities, logits (B, C) and embedding (B, D).

        And log10 likelihood ratios (B, C), where the method gives them.
        """
        levels = crops.permute(0, 3, 1, 2).to(torch.float32)
        if self.resize is not None:
            levels = self.resize(levels)
        outputs = self.method(levels * self.scale + self.shift)
        made = outputs.logits.softmax(dim=1), outputs.logits, outputs.embedding
        return made if outputs.log_ratios is None else (*made, outputs.log_ratios)


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
        made = graph(images)  # matrices of the DCT are made once and kept: now, while they are real
        try:
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[*OUTPUTS, RATIOS][: len(made)],
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


def check_parity(content: bytes, network: TorchSession, checked: CheckedCrops) -> Parity:
    """Compare the graph with the network.

    Raises:
        UserError: They differ by more than ``BOUND`` or ``RELATIVE_BOUND``.
    """
    graph = OnnxSession(content, "the graph")
    largest = []  # a row a batch: of three differences, then of what two of them are relative to
    for first in range(0, len(checked.pixels), FEW):
        some = checked.pixels[first : first + FEW]
        found, expected = graph.predict_batch(some), network.predict_batch(some)
        pairs = zip(found, expected, strict=True)
        values = [*(one - other for one, other in pairs), expected.embedding, expected.log_ratios]
        largest.append([np.abs(each).max(initial=0) for each in values])
    # NumPy's, since Python's max passes over what is not a number.
    probability, feature, ratio, *scales = np.max(largest, axis=0).tolist()
    scale, ratio_scale = (max(each, _TINY) for each in scales)
    parity = Parity(
        images=checked.name,
        num_images=len(checked.pixels),
        probabilities=probability,
        embedding=feature / scale,
        log_ratios=ratio / ratio_scale if expected.log_ratios.size else None,
        bound=BOUND,
        relative_bound=RELATIVE_BOUND,
    )
    relative = (parity.embedding, parity.log_ratios or 0)
    # Not "greater than": what is not a number must not pass.
    if not (parity.probabilities <= BOUND and all(each <= RELATIVE_BOUND for each in relative)):
        ratios = "" if parity.log_ratios is None else f" and {parity.log_ratios:.1e} in a ratio"
        raise UserError(
            f"{checked.name}: the exported graph differs from the network by"
            f" {parity.probabilities:.1e} in a probability and {parity.embedding:.1e} in an"
            f" embedding{ratios}, more than {BOUND:g} or {RELATIVE_BOUND:g}, so nothing is written;"
            " predict with the run folder"
        )
    return parity


def _note(run: Run, num_active: int, graph_bytes: int, parity: Parity) -> ModelNote:
    """What the file says of itself."""
    metadata = run.metadata
    selected = checkpoint.read_note(run.checkpoint)
    update = {"precision": "32-true", "weights_digest": selected.weights}
    return ModelNote(
        classes=class_names(metadata.known, num_active),
        num_known=metadata.num_known,
        crop_rule=_CROP_RULE,
        faces=metadata.faces,
        enlarge=ENLARGE,
        store_size=metadata.store_size,
        fit=metadata.fit,
        decoder=DECODER,
        image_size=metadata.image_size,
        mean=metadata.mean,
        std=metadata.std,
        exporter={name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
        graph_bytes=graph_bytes,
        parity=parity,
        provenance=metadata.provenance.model_copy(update=update),
        types_found=selected.found,
        calibration=_calibration(run, selected.weights),
    )


def _calibration(run: Run, weights: str) -> Calibration | None:
    """The calibration of the run; None where there is none of these weights."""
    found = Calibration.read(run.folder)
    return found if found is not None and found.provenance.weights_digest == weights else None


def _require(package: str) -> Any:
    """Import what the exporter needs.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise UserError(f"{package} is not installed; pip install 'owdfa[train]'") from None
