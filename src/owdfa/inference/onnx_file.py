"""A trained network as one file that needs no torch: ONNX, with all that has to be known of it.

The graph takes uint8 RGB crops (B, S, S, 3) and gives probabilities and logits (B, C), the
embedding (B, D) and, where the method has them, log10 likelihood ratios (B, C); resizing and
normalising are part of it. Beside it, as ``metadata_props``, which end the file:

owdfa           JSON: ``ModelNote``
owdfa.sha256    of the bytes before them, followed by that JSON
"""

import hashlib
from pathlib import Path
from typing import Literal, final

import numpy as np
from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.images.faces import ENLARGE, Fit, check_faces
from owdfa.images.workers import num_processes
from owdfa.inference.session import FEW, BatchOutput, no_ratios
from owdfa.onnx_runtime import import_onnxruntime
from owdfa.records.calibration import Calibration
from owdfa.records.provenance import Provenance
from owdfa.records.types_found import TypesFound

INPUT = "crops"
OUTPUTS = ("probabilities", "logits", "embedding")
RATIOS = "log_ratios"  # a further output of some
WHAT = "a model that owdfa export made"

_NOTE, _CHECKSUM = "owdfa", "owdfa.sha256"
_TAIL = 4096  # bytes at the end of a file, among which the checksum is


class Parity(Settings):
    """How far the graph is from the network that it was made of."""

    images: str
    """Name of the images that both were given."""
    num_images: int
    probabilities: float
    """Largest difference of a probability."""
    embedding: float
    """Largest difference in an embedding, in units of the largest number in any."""
    log_ratios: float | None = None
    """The same of likelihood ratios; None without."""
    bound: float
    """What the difference of a probability may be at most."""
    relative_bound: float = 1e-4
    """What the other two may be at most."""


class ModelNote(Settings):
    """What is known of an exported network; ``crop_rule`` says in words how a crop is made."""

    schema_: Literal["owdfa/model/2"] = Field(default="owdfa/model/2", alias="schema")
    classes: tuple[str, ...]  # by index: the known ones first
    num_known: int
    crop_rule: str
    faces: str  # name of the detector
    enlarge: float  # what a face's box is multiplied by
    store_size: int  # side S of a crop
    fit: Fit = "resize"  # how it gets that size
    decoder: str  # that the crops of the training were decoded with
    image_size: int  # from here on: part of the graph
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    exporter: dict[str, str]  # versions of what made the graph
    graph_bytes: int  # length of the file before this note
    parity: Parity
    provenance: Provenance
    types_found: TypesFound | None = None
    calibration: Calibration | None = None  # of its run, where that was calibrated


@final
class OnnxSession:
    """A graph in ONNX Runtime, on the CPU in float32.

    Args:
        content: Of the file.
        name: Of the file, for messages.
        num_callers: Threads that will call ``predict_batch`` at the same time: the cores are
            divided among them.

    Raises:
        UserError: It is no ONNX model.
    """

    batch_size = FEW

    def __init__(self, content: bytes, name: str, num_callers: int = 1) -> None:
        runtime = import_onnxruntime()
        self.engine = f"onnxruntime {runtime.__version__}"
        options = runtime.SessionOptions()
        options.intra_op_num_threads = max(1, num_processes(0) // num_callers)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has a dozen kinds
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{name}: is damaged, or not an ONNX model ({reason})") from error
        given = {output.name for output in self._session.get_outputs()}
        self._names = ["probabilities", "embedding", *({RATIOS} & given)]

    def predict_batch(self, crops: np.ndarray) -> BatchOutput:
        """Predict crops (B, S, S, 3) uint8."""
        probabilities, embedding, *ratios = self._session.run(self._names, {INPUT: crops})
        return BatchOutput(probabilities, embedding, *(ratios or [no_ratios(probabilities)]))

    def properties(self) -> dict[str, str]:
        """What stands beside the graph."""
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found


def read_model(path: Path, num_callers: int = 1) -> tuple[ModelNote, OnnxSession]:
    """Start the network of an exported file.

    Args:
        path: The file.
        num_callers: See ``OnnxSession``.

    Raises:
        UserError: The file is missing, damaged or something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {WHAT} is needed here") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    session = OnnxSession(content, str(path), num_callers)
    found = session.properties()
    if _NOTE not in found:
        raise UserError(f"{path}: is an ONNX model, but not {WHAT}")
    note = _parse_note(path, found[_NOTE])
    if found.get(_CHECKSUM) != _checksum(content[: note.graph_bytes], found[_NOTE]):
        raise UserError(f"{path}: is damaged (its SHA-256 is not the recorded one); export again")
    return note, session


def is_model(path: Path) -> bool:
    """Whether a file is one that was exported, damaged or not: its checksum ends it."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return _CHECKSUM.encode() in stream.read()


def properties_of(graph: bytes, note: ModelNote) -> dict[str, str]:
    """What goes into the file after the graph."""
    text = note.model_dump_json(by_alias=True)
    return {_NOTE: text, _CHECKSUM: _checksum(graph, text)}


def _checksum(graph: bytes, note: str) -> str:
    digest = hashlib.sha256(graph)
    digest.update(note.encode())
    return digest.hexdigest()


def _parse_note(path: Path, text: str) -> ModelNote:
    try:
        note = ModelNote.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{path}: was exported by another version of owdfa ({where}: {problem['msg']});"
            " export again"
        ) from None
    check_faces(note.faces)
    if note.enlarge != ENLARGE:
        raise UserError(
            f"{path}: enlarges faces {note.enlarge:g} times, this version {ENLARGE:g} times;"
            " export again"
        )
    return note
