"""A run: the folder that holds everything a training rests on and led to.

run.json          what it is, and how far it is: ``RunMetadata``
settings.toml     all settings, resolved
classes.json      the number of classes, where it was estimated: ``RunEstimate``
log.jsonl         a line every few steps, and one an epoch
tensorboard/      the epochs' lines again
checkpoints/      ``last``, and ``validation`` or ``oracle`` when that rule selects
model.onnx        the network that predicts, as one graph: a CPU needs no torch for it
calibration.json  temperature and thresholds of verdicts, where images were held back for them
class_statistics.safetensors  mean and spread of each known class, for a run that continues this one
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from owdfa.backbones.base import Backbone, build
from owdfa.distributed import get_shard
from owdfa.errors import UserError
from owdfa.files import write_text
from owdfa.methods.base import Method, build_method
from owdfa.records.estimate import RunEstimate
from owdfa.records.provenance import Provenance, commit, environment
from owdfa.records.types_found import TypesFound
from owdfa.runs import checkpoint
from owdfa.runs.metadata import MODEL, RunImages, RunMetadata, is_run
from owdfa.runs.settings import SETTINGS, RunSettings, load_settings
from owdfa.weights import load_weights_strict


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it is.
        metadata: Contents of run.json.
        settings: Contents of settings.toml.
    """

    folder: Path
    metadata: RunMetadata
    settings: RunSettings

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a run folder.

        Raises:
            UserError: It holds no run, or one that is damaged.
        """
        folder = Path(folder)
        metadata = RunMetadata.read(folder)
        return cls(folder, metadata, load_settings("none", folder / SETTINGS))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether ``folder`` holds a run."""
        return is_run(folder)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the known classes, by index."""
        return self.metadata.known

    @property
    def num_active(self) -> int:
        """Number of classes that the run tells apart."""
        return self.metadata.num_active

    @property
    def estimate(self) -> RunEstimate | None:
        """The estimate of the number of classes; None where none was made."""
        return None if self.settings.estimator is None else RunEstimate.find(self.folder)

    @property
    def types_found(self) -> TypesFound | None:
        """What the method found of the training images together; None where it says nothing."""
        return checkpoint.read_note(self.checkpoint).found

    @property
    def findings(self) -> list[str]:
        """What is known of the number of types and of novel images, and notes, a line each."""
        estimate, found = self.estimate, self.types_found
        lines = [*([estimate.line] if estimate else []), *(found.lines if found else [])]
        return [*lines, *self.metadata.notes]

    @property
    def estimated_classes(self) -> int | None:
        """The number of classes that was estimated; None where none was."""
        number = self.metadata.classes
        return None if self.settings.estimator is None or number == "auto" else number

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint that predicts."""
        return checkpoint.selected(self.folder, self.metadata)

    @property
    def last(self) -> Path:
        """Folder of the checkpoint that a resumed run begins with."""
        return self.folder / "checkpoints" / "last"

    @property
    def model(self) -> Path:
        """The network that predicts, as ONNX; it need not be there."""
        return self.folder / MODEL

    def write(self) -> None:
        """Write settings.toml, then run.json, which makes the folder a run."""
        # Settings that lie in a folder without a run are the user's.
        ours = Run.exists(self.folder)
        write_text(
            self.folder / SETTINGS, self.settings.to_toml(), (lambda _: True) if ours else None
        )
        self.metadata.write(self.folder)

    def update(self, **changes: Any) -> "Run":
        """Note how far the run is, on disk too."""
        metadata = self.metadata.model_copy(update=changes)
        metadata.write(self.folder)
        return replace(self, metadata=metadata)

    def mark(self, epochs: int, *, complete: bool) -> "Run":
        """Note, on disk too, that ``epochs`` are done, and which checkpoint predicts."""
        note = checkpoint.read_note(self.checkpoint)
        update = {"weights_digest": note.weights}
        return self.update(
            provenance=self.metadata.provenance.model_copy(update=update),
            trained_epochs=epochs,
            selected_epochs=note.epochs,
            num_active=note.num_active,
            complete=complete,
        )

    def method(self) -> Method:
        """The trained network, of the checkpoint that predicts, in evaluation mode.

        Raises:
            UserError: The checkpoint is missing, damaged or of another network.
        """
        settings = self.settings
        if self.estimated_classes is not None:
            settings = settings.with_classes(self.estimated_classes)
        method = empty_method(settings, self.metadata.num_labels)
        weights = checkpoint.read_weights(self.checkpoint)
        load_weights_strict(method, weights, str(self.checkpoint))
        return method.eval()


def empty_method(settings: RunSettings, num_known: int) -> Method:
    """Build the network, to be filled from a checkpoint."""
    return assemble(settings, num_known, build(settings.backbone.name, None))


def assemble(settings: RunSettings, num_known: int, backbone: Backbone) -> Method:
    """Put the method of ``settings`` on top of ``backbone``.

    Raises:
        UserError: There is no such method, or the number of classes does not fit.
    """
    num_classes = settings.classes if isinstance(settings.classes, int) else None
    return build_method(settings.method.name, backbone, num_known, num_classes, settings.method)


def describe(
    settings: RunSettings,
    method: Method,
    known: tuple[str, ...],
    images: RunImages,
    split_digest: str | None,
    device: torch.device,
) -> RunMetadata:
    """Put together the metadata of a run that is about to begin."""
    continues = None
    if settings.continual is not None:
        continues = RunMetadata.read(Path(settings.continual.run)).provenance.weights_digest
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    provenance = Provenance(
        method=settings.method.name,
        reconstruction=bool(method.reconstruction),
        backbone=settings.backbone.name,
        seed=settings.seed,
        selection=settings.selection,
        labels=settings.labels,
        split_digest=split_digest,
        weights_digest=None,
        continues=continues,
        precision=settings.precision,
        commit=commit(),
        environment=environment(
            f"{device} {name}".strip(),
            processes=get_shard().num,
            threads=torch.get_num_threads(),
        ),
    )
    return RunMetadata(
        **images.model_dump(),
        provenance=provenance,
        known=known,
        classes=settings.classes if isinstance(settings.classes, int) else "auto",
        num_classes=method.num_active,
        num_active=method.num_active,
        image_size=settings.data.views.size,
        mean=method.backbone.mean,
        std=method.backbone.std,
        device=settings.device,
    )


def create_imported(
    output: Path,
    settings: RunSettings,
    known: tuple[str, ...],
    weights: Mapping[str, Tensor],
    *,
    faces: str,
    store_size: int,
) -> Run:
    """Make a run that predicts out of weights that were trained elsewhere.

    Args:
        output: The run folder to make.
        settings: Of the method and the backbone; ``selection`` says how the weights were chosen.
        known: Names of the known classes, by index.
        weights: The method's state, complete, under its own names.
        faces: The face detector that the images went through.
        store_size: Side in pixels of the crops before the views.

    Raises:
        UserError: ``output`` holds a run already, or the weights do not fit.
    """
    if Run.exists(output):
        raise UserError(f"{output}: holds a run already; choose another -o")
    method = empty_method(settings, len(known))
    num_classes = method.num_active
    load_weights_strict(method, weights, "the imported weights")
    images = RunImages(split=None, store=None, store_size=store_size, faces=faces)
    metadata = describe(settings, method, known, images, None, torch.device("cpu"))
    run = Run(output, metadata.model_copy(update={"num_classes": num_classes}), settings)
    note = checkpoint.Note(settings.epochs, method.num_active)
    checkpoint.write(run.checkpoint, note, method.state_dict())
    run.write()
    return run.mark(settings.epochs, complete=True)
