"""A run: the folder that holds everything a training rests on and led to.

run.json          what it is, and how far it is: ``Facts``
settings.toml     all settings, resolved
log.jsonl         a line every few steps, and one an epoch
tensorboard/      the epochs' lines again
checkpoints/      ``last``, and ``validation`` or ``oracle`` when that rule selects
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from owdfa.config import Settings, parse_settings
from owdfa.errors import UserError
from owdfa.files import read_json, write_json, write_text
from owdfa.images.store import Store
from owdfa.methods.base import Method
from owdfa.records.manifest import Manifest
from owdfa.records.split import ROLES, Split
from owdfa.runs import checkpoint
from owdfa.runs.assembly import empty_method
from owdfa.runs.provenance import commit, environment
from owdfa.runs.settings import RunSettings, Selection, load_settings
from owdfa.weights import load_weights_strict

_SCHEMA: Literal["owdfa/run/1"] = "owdfa/run/1"
_WHAT = "a run (owdfa train makes one)"
_FACTS, _SETTINGS = "run.json", "settings.toml"

Colour = tuple[float, float, float]


class Images(Settings):
    """What the images of a run are, so that others can be made alike."""

    split: str | None  # folder of the split; None for a network that was trained elsewhere
    split_digest: str | None
    store: str | None  # folder of the crops
    store_size: int  # side of a crop in pixels
    faces: str  # name of the face detector

    @classmethod
    def of(cls, folder: Path, split: Split, store: Store) -> "Images":
        """The images of ``split``, which lies in ``folder``."""
        return cls(
            split=str(folder.absolute()),
            split_digest=split.digest(),
            store=str(store.folder),
            store_size=store.size,
            faces=store.basis.faces,
        )


class Facts(Images):
    """What a run is, and how far it is."""

    schema_: Literal["owdfa/run/1"] = Field(_SCHEMA, alias="schema")
    method: str
    backbone: str
    known: tuple[str, ...]
    num_known: int
    classes: int | Literal["auto"]
    num_classes: int  # room for classes, before any were pruned
    num_active: int  # classes left in the checkpoint that predicts
    image_size: int
    mean: Colour
    std: Colour
    seed: int
    selection: Selection
    commit: str
    environment: dict[str, str]
    trained_epochs: int = 0
    selected_epochs: int = 0  # of the checkpoint that predicts
    complete: bool = False


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it is.
        facts: Contents of run.json.
        settings: Contents of settings.toml.
    """

    folder: Path
    facts: Facts
    settings: RunSettings

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a run folder.

        Raises:
            UserError: It holds no run, or one that is damaged.
        """
        folder = Path(folder)
        table = read_json(folder / _FACTS, what=_WHAT)
        if not isinstance(table, Mapping) or table.get("schema") != _SCHEMA:
            raise UserError(f"{folder / _FACTS}: is not {_WHAT}")
        facts = parse_settings(Facts, table, str(folder / _FACTS))
        return cls(folder, facts, load_settings("none", folder / _SETTINGS))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether ``folder`` holds a run."""
        return (folder / _FACTS).is_file()

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the known classes, by index."""
        return self.facts.known

    @property
    def num_active(self) -> int:
        """Number of classes that the run tells apart."""
        return self.facts.num_active

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint that predicts."""
        return self.folder / "checkpoints" / self.facts.selection

    @property
    def last(self) -> Path:
        """Folder of the checkpoint that a resumed run begins with."""
        return self.folder / "checkpoints" / "last"

    def write(self) -> None:
        """Write settings.toml, then run.json, which makes the folder a run."""
        # Settings that lie in a folder without a run are the user's.
        ours = Run.exists(self.folder)
        write_text(
            self.folder / _SETTINGS, self.settings.to_toml(), (lambda _: True) if ours else None
        )
        write_json(self.folder / _FACTS, self.facts.model_dump(by_alias=True, mode="json"))

    def update(self, **changes: Any) -> "Run":
        """Note how far the run is, on disk too."""
        facts = self.facts.model_copy(update=changes)
        write_json(self.folder / _FACTS, facts.model_dump(by_alias=True, mode="json"))
        return replace(self, facts=facts)

    def method(self) -> Method:
        """The trained network, of the checkpoint that predicts, in evaluation mode.

        Raises:
            UserError: The checkpoint is missing, damaged or of another network.
        """
        method = empty_method(self.settings, self.facts.num_known)
        weights = checkpoint.read_weights(self.checkpoint)
        load_weights_strict(method, weights, str(self.checkpoint))
        return method.eval()


def describe(
    settings: RunSettings,
    method: Method,
    known: tuple[str, ...],
    images: Images,
    device: torch.device,
) -> Facts:
    """Put together the facts of a run that is about to begin."""
    return Facts.model_validate(
        {
            **images.model_dump(),
            "schema": _SCHEMA,
            "method": settings.method.name,
            "backbone": settings.backbone.name,
            "known": known,
            "num_known": len(known),
            "classes": settings.classes,
            "num_classes": method.num_active,
            "num_active": method.num_active,
            "image_size": settings.data.views.size,
            "mean": method.backbone.mean,
            "std": method.backbone.std,
            "seed": settings.seed,
            "selection": settings.selection,
            "commit": commit(),
            "environment": environment(str(device)),
        }
    )


def open_store(folder: Path, split: Split, store: Path | None) -> Store:
    """Open the crops of the images of a split.

    Args:
        folder: Of the split.
        split: Its content.
        store: Folder of the crops; None for the one that the split's manifest names.

    Raises:
        UserError: There are none, or they are of other images.
    """
    basis = split.basis
    if store is None:
        manifest = Manifest.read(Path(basis.manifest), ("id",))
        if manifest.store is None:
            raise UserError(
                f"{basis.manifest}: its images are not prepared;"
                f" run owdfa data prepare {basis.manifest} -o store, then split again"
            )
        store = manifest.store
    crops = Store.open(store)
    images = Split.read(folder, ("id", "role", "sha256")).with_role(*ROLES[:-1])  # those in use
    if reason := crops.lacks(images):
        raise UserError(
            f"{folder}: was not made from the images in the store {store} ({reason});"
            " prepare and split the manifest again, or give the store that belongs to it"
        )
    return crops


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
    num_classes, epochs = method.num_active, settings.epochs
    load_weights_strict(method, weights, "the imported weights")
    images = Images(split=None, split_digest=None, store=None, store_size=store_size, faces=faces)
    facts = describe(settings, method, known, images, torch.device("cpu"))
    done = {"num_classes": num_classes, "trained_epochs": epochs, "selected_epochs": epochs}
    run = Run(output, facts.model_copy(update={**done, "complete": True}), settings)
    note = checkpoint.Note(epochs, method.num_active)
    checkpoint.write(run.checkpoint, note, method.state_dict())
    run.write()
    return run
