"""What a run is, and how far it is: run.json, read without torch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_json, write_json
from owdfa.images.faces import Fit
from owdfa.images.store import Store
from owdfa.records.provenance import Device, Provenance

SCHEMA: Literal["owdfa/run/2"] = "owdfa/run/2"
MODEL = "model.onnx"
"""The file of a run folder by which a CPU predicts."""
_FILE = "run.json"
_WHAT = "a run (owdfa train makes one)"

Colour = tuple[float, float, float]


class RunImages(Settings):
    """Where the images of a run are, and what they are, so that others can be made alike.

    Folders are written relative to the run folder where they are in it or beside it, so that they
    are found when all is moved together.
    """

    split: str | None
    """Folder of the split; None for a network that was trained elsewhere."""
    store: str | None
    """Folder of the crops."""
    store_size: int
    """Side of a crop in pixels."""
    faces: str
    """Name of the face detector."""
    fit: Fit = "resize"
    """How a crop gets its size."""

    @classmethod
    def of(cls, run: Path, split: Path, store: Store) -> "RunImages":
        """The images of a ``split``, for the run folder ``run``."""
        return cls(
            split=path_from(run, split),
            store=path_from(run, store.folder),
            store_size=store.size,
            faces=store.basis.faces,
            fit=store.basis.fit,
        )


class RunMetadata(RunImages):
    """What a run is, and how far it is."""

    schema_: Literal["owdfa/run/2"] = Field(default=SCHEMA, alias="schema")
    provenance: Provenance
    known: tuple[str, ...]
    """Names of the known classes, by index."""
    novel_labels: tuple[str, ...] = ()
    """Names of the novel classes whose hidden labels it was trained on: its first novel types."""
    classes: int | Literal["auto"]
    """Number of classes that the run was given."""
    num_classes: int
    """Capacity for classes, before any were pruned."""
    num_active: int
    """Classes left in the checkpoint that predicts."""
    image_size: int
    """Side in pixels of what the network sees."""
    mean: Colour
    std: Colour
    device: Device
    """What it was told to compute on."""
    trained_epochs: int = 0
    selected_epochs: int = 0
    """Epochs of the checkpoint that predicts."""
    complete: bool = False
    features: str | None = None
    """Digest of a frozen backbone's features, which are kept beside the crops; None without."""
    notes: tuple[str, ...] = ()
    """What a reader of its scores should know."""
    model_error: str | None = None
    """Why the folder holds no ``model.onnx``, where making it failed."""

    @property
    def num_known(self) -> int:
        """Number of known classes."""
        return len(self.known)

    @property
    def num_labels(self) -> int:
        """Number of classes that it was given labels of: the known ones, but in an oracle."""
        return len(self.known) + len(self.novel_labels)

    @classmethod
    def read(cls, folder: Path) -> "RunMetadata":
        """Read run.json of a run folder.

        Raises:
            UserError: It holds no run, one of another version, or one that is damaged.
        """
        path = folder / _FILE
        table = read_json(path, what=_WHAT)
        schema = table.get("schema") if isinstance(table, Mapping) else None
        if not str(schema).startswith("owdfa/run/"):
            raise UserError(f"{path}: is not {_WHAT}")
        if schema != SCHEMA:
            raise UserError(f"{path}: holds {schema!r}, this version reads {SCHEMA!r}; train again")
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise UserError(
                f"{path}: is damaged ({where}: {problem['msg']}); restore it, or train again"
            ) from None

    def write(self, folder: Path) -> None:
        """Write run.json, which makes ``folder`` a run."""
        write_json(folder / _FILE, self.model_dump(by_alias=True, mode="json"))


def is_run(folder: Path) -> bool:
    """Whether ``folder`` holds a run."""
    return (folder / _FILE).is_file()


def path_from(run: Path, path: Path) -> str:
    """``path`` relative to the folder ``run`` where that is in it or beside it, else absolute."""
    try:
        relative = Path(os.path.relpath(path.absolute(), run.absolute()))
    except ValueError:  # another drive
        return str(path.absolute())
    return str(path.absolute()) if relative.parts[:2] == ("..", "..") else relative.as_posix()
