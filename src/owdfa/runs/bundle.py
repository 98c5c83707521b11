"""A trained network as one file that needs no torch: ONNX, with all that has to be known of it.

The graph takes uint8 RGB crops (B, S, S, 3) and gives probabilities and logits (B, C) and the
embedding (B, D); resizing and normalising are part of it. Beside it, as ``metadata_props``:

owdfa           JSON: ``Note``
owdfa.sha256    of the file, with this digest written as 64 zeros
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.images.faces import ENLARGE, check_faces
from owdfa.records.predictions import PredictionBasis
from owdfa.runs.computing import AS_TOLD, Computing
from owdfa.runs.predictor import FEW, Network, Predictor

INPUT = "crops"
OUTPUTS = ("probabilities", "logits", "embedding")
WHAT = "a model that owdfa export made"

SCHEMA: Literal["owdfa/model/1"] = "owdfa/model/1"
_PRECISION = "32-true"
_NOTE, _SEAL = "owdfa", "owdfa.sha256"
_BLANK = "0" * 64


class Parity(Settings):
    """How far the graph is from the network that it was made of.

    Attributes:
        images: Name of the images that both were given.
        num_images: Their number.
        probabilities: Largest difference of a probability.
        embedding: Largest difference in an embedding, in units of the largest number in any.
        bound: What both may be at most.
    """

    images: str
    num_images: int
    probabilities: float
    embedding: float
    bound: float


class Note(Settings):
    """What is known of an exported network; ``crop_rule`` says in words how a crop is made."""

    schema_: Literal["owdfa/model/1"] = Field(SCHEMA, alias="schema")
    classes: tuple[str, ...]  # by index: the known ones first
    num_known: int
    crop_rule: str
    faces: str  # name of the detector
    enlarge: float  # what a face's box is multiplied by
    store_size: int  # side S of a crop
    decoder: str  # that the crops of the training were decoded with
    image_size: int  # from here on: part of the graph
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    method: str
    backbone: str
    split_digest: str | None
    selection: str
    weights_digest: str
    seed: int
    commit: str
    environment: dict[str, str]
    parity: Parity


def open_bundle(path: Path, computing: Computing = AS_TOLD) -> Predictor:
    """What predicts by an exported network: on the CPU, in float32.

    Raises:
        UserError: The file is missing, damaged or something else, something else was asked for to
            compute on or in, or onnxruntime is not installed.
    """
    if computing.device == "cuda" or computing.precision not in (None, _PRECISION):
        raise UserError(
            f"{path}: an exported network computes on the CPU in {_PRECISION}; leave --device and"
            " --precision out, or name the run's folder"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {WHAT} is needed here") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    session = start_session(content, str(path))
    found = session.get_modelmeta().custom_metadata_map
    if _NOTE not in found:
        raise UserError(f"{path}: is an ONNX model, but not {WHAT}")
    if not _is_sealed(content):
        raise UserError(f"{path}: is damaged (its SHA-256 is not the recorded one); export again")
    note = _read_note(path, found[_NOTE])
    basis = PredictionBasis(
        run=str(path),
        images="",
        method=note.method,
        classes=list(note.classes),
        num_known=note.num_known,
        split_digest=note.split_digest,
        selection=note.selection,
        weights_digest=note.weights_digest,
        seed=note.seed,
        commit=note.commit,
        precision=_PRECISION,
    )
    return Predictor(
        place=path,
        basis=basis,
        faces=note.faces,
        store_size=note.store_size,
        split=None,
        store=None,
        network=lambda: _network(session),
    )


def start_session(content: bytes, name: str) -> Any:
    """An ``onnxruntime.InferenceSession`` of one thread a call, which several threads may call.

    Args:
        content: Of the file.
        name: Of the file, for the message.

    Raises:
        UserError: It is no ONNX model, or onnxruntime is not installed.
    """
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # each caller is a thread, and none waits for another
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a dozen kinds
        raise UserError(f"{name}: is damaged, or not an ONNX model ({_short(error)})") from error


def require(package: str) -> Any:
    """Import a package of the extra ``export``.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise UserError(f"{package} is not installed; pip install 'owdfa[export]'") from None


def metadata(note: Note) -> dict[str, str]:
    """What goes into the file beside the graph; ``seal`` comes last."""
    return {_NOTE: note.model_dump_json(by_alias=True), _SEAL: _BLANK}


def seal(content: bytes) -> bytes:
    """Write the digest of a file with ``metadata`` into it."""
    place = _place_of_seal(content)
    assert place is not None
    return b"".join((content[: place.start], _digest(content, place), content[place.stop :]))


def is_bundle(path: Path) -> bool:
    """Whether a file is one that ``seal`` was called on, damaged or not."""
    return _place_of_seal(path.read_bytes()) is not None


def _is_sealed(content: bytes) -> bool:
    place = _place_of_seal(content)
    return place is not None and content[place] == _digest(content, place)


def _place_of_seal(content: bytes) -> slice | None:
    """Where the digest stands; None where there is no place for one."""
    key = _SEAL.encode() + b"\x12\x40"  # protobuf: the second field follows, of 64 bytes
    found = content.rfind(key)
    place = slice(found + len(key), found + len(key) + len(_BLANK))
    return None if found < 0 or place.stop > len(content) else place


def _digest(content: bytes, place: slice) -> bytes:
    """SHA-256 of a file in hexadecimal digits, as if its seal were blank; nothing is copied."""
    view = memoryview(content)
    digest = hashlib.sha256(view[: place.start])
    digest.update(_BLANK.encode())
    digest.update(view[place.stop :])
    return digest.hexdigest().encode()


def _read_note(path: Path, text: str) -> Note:
    try:
        note = Note.model_validate_json(text)
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


@contextmanager
def _network(session: Any) -> Iterator[Network]:
    def answer(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, embedding = session.run(["probabilities", "embedding"], {INPUT: crops})
        return probabilities, embedding

    yield Network(answer, FEW)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
