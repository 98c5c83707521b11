"""The store: every image's crop, decoded once and kept as raw pixels that are read in microseconds.

A folder of three files::

    pixels.bin    uint8, (N, size, size, 3), RGB, without a header: mapped into memory, never loaded
    ids.parquet   row i of it is the image in row i of the pixels; in order of id
    store.json    how the crops were made, and what they were made from
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.errors import UserError
from owdfa.files import read_json, read_table, write_json, write_table
from owdfa.records.manifest import SCHEMA as MANIFEST_SCHEMA
from owdfa.records.rows import digest_of, indices_of

WHAT = "a store (owdfa data prepare makes one)"
IDS = pa.schema([MANIFEST_SCHEMA.field(name) for name in ("id", "sha256", "phash", "face")])
_SCHEMA = "owdfa/store/1"


class StoreBasis(NamedTuple):
    """How the crops of a store were made. Two stores of equal basis hold equal pixels."""

    size: int  # side of a crop in pixels
    faces: str  # name of the face detector
    decoder: str  # and its version
    scanned: str  # digest of the manifest before ``prepare`` noted any image as bad


@dataclass(frozen=True)
class Crops:
    """Some crops of a store, copied out when and where they are needed: ``crops[8:16]``.

    Each thread so reads its own part, and still finds it in its processor's cache.

    Attributes:
        pixels: (N, S, S, 3) uint8, all crops.
        places: (B,) int64: which of them.
    """

    pixels: np.ndarray
    places: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array: (B, S, S, 3)."""
        return (len(self.places), *self.pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> np.ndarray:
        crops: np.ndarray = self.pixels[self.places[part]]
        return crops


@dataclass(frozen=True)
class Store:
    """Crops on disk.

    Attributes:
        folder: Absolute path.
        basis: How they were made.
        manifest_digest: Digest of the manifest that ``prepare`` left; a split repeats it.
        failures: Why an image of the scanned manifest is not here, by id.
        table: Rows of ``IDS``, one a crop.
        pixels: (N, size, size, 3) uint8, mapped from the disk, read-only.
    """

    folder: Path
    basis: StoreBasis
    manifest_digest: str
    failures: dict[str, str]
    table: pa.Table
    pixels: np.memmap

    @classmethod
    def open(cls, folder: str | Path) -> "Store":
        """Open a store, and check that its files belong together.

        Raises:
            UserError: A file is missing, damaged or from another store.
        """
        folder = Path(folder).absolute()
        note = read_json(folder / "store.json", what=WHAT)
        table, _ = read_table(folder / "ids.parquet", IDS, what=WHAT)
        try:
            basis = StoreBasis(**note["basis"])
            failures, digest, ids_digest = note["failures"], note["manifest"], note["ids"]
        except (KeyError, TypeError):
            raise UserError(f"{folder / 'store.json'}: is not {WHAT}") from None
        shape = (table.num_rows, basis.size, basis.size, 3)
        path = folder / "pixels.bin"
        if ids_digest != _digest(table) or _size(path) != int(np.prod(shape)):
            raise UserError(f"{folder}: its files are not of one store; delete it, prepare again")
        pixels = np.memmap(path, np.uint8, mode="r", shape=shape)
        return cls(folder, basis, digest, failures, table, pixels)

    def __reduce__(self) -> tuple[Callable[[Path], "Store"], tuple[Path]]:
        # A worker process maps the file anew; the pixels do not travel.
        return Store.open, (self.folder,)

    @cached_property
    def ids(self) -> list[str]:
        """The images, in order of their rows."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @property
    def size(self) -> int:
        """Side of a crop in pixels."""
        return self.basis.size

    def rows(self, ids: Sequence[str] | pa.ChunkedArray) -> np.ndarray:
        """Find images: (len(ids),) int64, their rows in ``pixels``.

        Raises:
            UserError: An image is not in the store; the first such is named.
        """
        found = indices_of(ids, self.table["id"])
        if (found < 0).any():
            first = str(ids[int(np.argmin(found))])
            reason = self.failures.get(first, "prepare the manifest that the split was made from")
            raise UserError(f"{self.folder}: holds no image {first!r} ({reason})")
        return found

    def crops(self, places: np.ndarray) -> Crops:
        """Those in these rows of ``pixels``."""
        return Crops(self.pixels.view(np.ndarray), places)


def write_notes(
    folder: Path, table: pa.Table, basis: StoreBasis, manifest: str, failures: dict[str, str]
) -> None:
    """Write what makes a folder with ``pixels.bin`` a store.

    Args:
        folder: The folder.
        table: Rows of ``IDS``, in the order of the pixels.
        basis: How the crops were made.
        manifest: Digest of the manifest with the failures noted in it.
        failures: Why an image has no crop, by id.
    """
    write_table(folder / "ids.parquet", table, {})
    note: dict[str, Any] = {
        "schema": _SCHEMA,
        "basis": basis._asdict(),
        "images": table.num_rows,
        "manifest": manifest,
        "ids": _digest(table),
        "failures": failures,
    }
    write_json(folder / "store.json", note)


def check_basis(folder: Path, found: StoreBasis, wanted: StoreBasis) -> None:
    """Refuse crops made in another way, or of other images, than is wanted now.

    Raises:
        UserError: They differ; each difference is named.
    """
    names = {"scanned": "manifest"}
    differences = [
        f"{names.get(name, name)} {old} there, {new} here"
        if name != "scanned"
        else "another manifest"
        for name, old, new in zip(StoreBasis._fields, found, wanted, strict=True)
        if old != new
    ]
    if differences:
        raise UserError(
            f"{folder}: was prepared otherwise ({'; '.join(differences)}); "
            "choose another place with -o, or delete it first"
        )


def _digest(table: pa.Table) -> str:
    return digest_of(table, ("id", "sha256"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
