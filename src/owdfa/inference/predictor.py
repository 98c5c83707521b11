"""What predicts: a trained network, and all that must be known of it, whatever computes it.

predictor = Predictor.open("runs/cal")          # or a file that owdfa export made
found = predictor.predict_image("photo.jpg")    # or the file's bytes, or pixels (H, W, 3) uint8
found.name, found.confidence, found.embedding
"""

import ctypes
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from owdfa.errors import UserError
from owdfa.images.faces import Fit
from owdfa.inference.inputs import Image, read_crop
from owdfa.inference.onnx_file import OnnxSession, read_model
from owdfa.inference.session import DEFAULTS, BatchOutput, ComputeOptions, Session
from owdfa.records.calibration import Calibration
from owdfa.records.predictions import class_names
from owdfa.records.provenance import Device, Precision, Provenance
from owdfa.records.types_found import TypesFound
from owdfa.runs import checkpoint
from owdfa.runs.metadata import MODEL, RunMetadata

if TYPE_CHECKING:
    from owdfa.inference.network import TorchSession

_FLOAT32: Precision = "32-true"
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


class ImagePrediction(NamedTuple):
    """What a network says of one image."""

    name: str  # of the likeliest class
    confidence: float  # its probability
    log_ratio: float | None  # log10 likelihood ratio against the best other explanation, if given
    novel: bool  # whether it is a class of the run's own making
    probabilities: np.ndarray  # (C,) float32, in the order of the predictor's classes
    embedding: np.ndarray  # (D,) float32


@dataclass(frozen=True)
class Predictor:
    """A network that is ready to predict.

    Attributes:
        source: The run folder, or the file that was exported from one.
        classes: Names by index, the known ones first.
        num_known: How many of them are known.
        faces: Face detector that images go through.
        store_size: Side S of the crops that the network is given.
        provenance: What it rests on; ``precision`` is what it computes in.
        session: Computes.
        fit: How a crop gets its size.
        run: Of a run folder, its run.json.
        features: Digest of features that ``by_features`` predicts by; None without.
        device: What to compute on.
        types_found: What its method found of the training images together; None without.
        notes: Why it is not as fast as it could be, for the user.
        calibration: What an exported file carries; that of a run lies in its folder.
    """

    source: Path
    classes: tuple[str, ...]
    num_known: int
    faces: str
    store_size: int
    provenance: Provenance
    session: Session
    fit: Fit = "resize"
    run: RunMetadata | None = None
    features: str | None = None
    device: Device = "cpu"
    types_found: TypesFound | None = None
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None

    @classmethod
    def open(
        cls, source: str | Path, options: ComputeOptions = DEFAULTS, *, num_callers: int = 1
    ) -> "Predictor":
        """Start the network of a run folder or of an exported file.

        On a CPU, and in float32, a run folder predicts by its ``model.onnx`` in ONNX Runtime, and
        torch is not imported; otherwise by its checkpoint in PyTorch.

        Args:
            source: The run folder, or the file.
            options: What to compute on and in.
            num_callers: Threads that will call it at the same time.

        Raises:
            UserError: It is missing, damaged or something else, or does not compute on or in what
                is asked for.
        """
        source = Path(source)
        if source.is_file() or source.suffix == ".onnx":
            return cls._of_file(source, options, num_callers)
        return cls._of_run(source, options, num_callers)

    def predict_batch(self, crops: np.ndarray) -> BatchOutput:
        """Predict crops (B, S, S, 3) uint8, ``session.batch_size`` of them as a rule."""
        return self.session.predict_batch(crops)

    def by_features(self) -> "Predictor":
        """Start the network to be given features of a frozen backbone in place of crops."""
        from owdfa.inference.network import FeatureSession

        network = _start_torch(self.source, self.device, self.provenance.precision)
        return replace(self, session=FeatureSession(network))

    def predict_image(self, image: Image) -> ImagePrediction:
        """Predict an image: a file, the content of one, or its pixels (H, W, 3) uint8 RGB.

        Raises:
            BadImageError: It cannot be used.
        """
        crop = read_crop(image, self.faces, self.store_size, self.fit)
        output = self.predict_batch(crop[None])
        probabilities, embedding = output.probabilities[0], output.embedding[0]
        index = int(probabilities.argmax())
        says = output.evidence(self.num_known)
        return ImagePrediction(
            self.classes[index],
            float(probabilities[index]),
            None if says is None else float(says.own[0]),
            index >= self.num_known,
            probabilities,
            embedding,
        )

    @classmethod
    def _of_file(cls, path: Path, options: ComputeOptions, num_callers: int) -> "Predictor":
        if options.device == "cuda" or options.precision not in (None, _FLOAT32):
            raise UserError(
                f"{path}: an exported network computes on the CPU in {_FLOAT32}; leave --device"
                " and --precision out, or name the run's folder"
            )
        note, session = read_model(path, num_callers)
        return cls(
            source=path,
            classes=note.classes,
            num_known=note.num_known,
            faces=note.faces,
            store_size=note.store_size,
            fit=note.fit,
            provenance=note.provenance,
            session=session,
            types_found=note.types_found,
            calibration=note.calibration,
        )

    @classmethod
    def _of_run(cls, folder: Path, options: ComputeOptions, num_callers: int) -> "Predictor":
        run = RunMetadata.read(folder)
        selected = checkpoint.read_note(checkpoint.selected(folder, run))
        device = options.device or run.device
        precision = options.precision or run.provenance.precision
        update = {"weights_digest": selected.weights, "precision": precision}
        session: Session | None = None
        notes: tuple[str, ...] = ()
        if precision == _FLOAT32 and not uses_gpu(device):
            session, notes = _graph_of_run(folder, run, selected.weights, num_callers)
        return cls(
            source=folder,
            classes=class_names(run.known, selected.num_active),
            num_known=run.num_known,
            faces=run.faces,
            store_size=run.store_size,
            fit=run.fit,
            provenance=run.provenance.model_copy(update=update),
            session=session or _start_torch(folder, device, precision),
            run=run,
            features=run.features if find_spec("torch") else None,
            device=device,
            types_found=selected.found,
            notes=notes,
        )


def _graph_of_run(
    folder: Path, run: RunMetadata, weights: str, num_callers: int
) -> tuple[OnnxSession | None, tuple[str, ...]]:
    """Start the graph of a run; None, and why, where it has none of its weights."""
    path = folder / MODEL
    try:
        note, session = read_model(path, num_callers)
    except UserError as error:
        reason = run.model_error or str(error)
    else:
        if note.provenance.weights_digest == weights:
            return session, ()
        reason = f"{path}: was made of other weights"
    return None, (
        f"{reason}; PyTorch predicts, which is slower; make the file with"
        f" owdfa export {folder} -o {path}",
    )


def _start_torch(folder: Path, device: Device, precision: Precision) -> "TorchSession":
    try:
        from owdfa.inference.network import open_network
    except ImportError as error:
        raise UserError(
            f"{folder}: predicts by PyTorch, which is not installed ({error.name});"
            " pip install 'owdfa[train]', or predict with a file that owdfa export made"
        ) from None
    return open_network(folder, device, precision)


def uses_gpu(device: Device) -> bool:
    """Whether to compute on a GPU; torch, which knows, is asked only where there is a driver."""
    if device != "auto":
        return device == "cuda"
    if not any(map(_loads, _DRIVERS)):
        return False
    try:
        from owdfa.inference.network import finds_gpu
    except ImportError:
        return False
    return finds_gpu()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
