"""The store: every image's crop, decoded once and kept as raw pixels that are read in microseconds.

A folder of three files::

    pixels.bin    uint8, (N, size, size, 3), RGB, without a header: mapped into memory, never loaded
    ids.parquet   row i of it is the image in row i of the pixels
    store.json    how the crops were made, and how many there are

An image is known by its id and the SHA-256 of its file. Its class and group are no part of the
store: a manifest that names them otherwise, or lists fewer images, fits the same store.

Rows are in order of id in a store that was made at once. One that grew has the later images after
the earlier ones. Images are added at the end of the first two files; ``store.json`` is replaced
last, and only the rows that it counts are read. So a process that has the store open notices
nothing, and a kill in between leaves the store as it was.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.files import read_json, read_table, write_json, write_table
from owdfa.images.faces import Fit
from owdfa.records.manifest import SCHEMA as MANIFEST_SCHEMA
from owdfa.records.rows import digest_of, indices_of

WHAT = "a store (owdfa data prepare makes one)"
IDS = pa.schema([MANIFEST_SCHEMA.field(name) for name in ("id", "sha256", "phash", "face")])
ABSENT, CHANGED = -1, -2  # rows of images that a store does not hold, or holds with other content
_SCHEMA = "owdfa/store/2"


class StoreBasis(NamedTuple):
    """How the crops of a store were made. Two stores of equal basis hold equal pixels."""

    size: int  # side of a crop in pixels
    faces: str  # name of the face detector
    decoder: str  # and its version
    fit: Fit = "resize"  # how a crop got its size


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
        failures: Why an image that was to be cropped is not here, by id.
        table: Rows of ``IDS``, one a crop.
        pixels: (N, size, size, 3) uint8, mapped from the disk, read-only.
    """

    folder: Path
    basis: StoreBasis
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
        basis, failures, table = _read_notes(folder)
        shape = (table.num_rows, basis.size, basis.size, 3)
        path = folder / "pixels.bin"
        if _size(path) < int(np.prod(shape)):
            raise _torn(folder)
        pixels = np.memmap(path, np.uint8, mode="r", shape=shape)
        return cls(folder, basis, failures, table, pixels)

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

    def find(self, images: pa.Table) -> np.ndarray:
        """Find images by id and content: (N,) int64, their rows, ``ABSENT`` or ``CHANGED``.

        Args:
            images: Columns ``id`` and ``sha256``.
        """
        return find(self.table, images)

    def lacks(self, images: pa.Table) -> str | None:
        """Say of the first of ``images`` that is not here why it is not; None when all are."""
        found = self.find(images)
        if not (found < 0).any():
            return None
        row = int(np.argmax(found < 0))
        name = str(images["id"][row])
        if found[row] == CHANGED:
            return f"{name!r} has another SHA-256 there"
        return f"{name!r} is not there: {self.failures.get(name, 'it was not prepared')}"

    def crops(self, places: np.ndarray) -> Crops:
        """Those in these rows of ``pixels``."""
        return Crops(self.pixels.view(np.ndarray), places)


def find(table: pa.Table, images: pa.Table) -> np.ndarray:
    """Find ``images`` in ``table``, both with columns ``id`` and ``sha256``; see ``Store.find``."""
    found = indices_of(images["id"], table["id"])
    kept = table["sha256"].take(pa.array(found, mask=found < 0))
    same = np.asarray(pc.fill_null(pc.equal(kept, images["sha256"]), False))
    found = found.copy()
    found[~same & (found >= 0)] = CHANGED
    return found


def write_notes(folder: Path, table: pa.Table, basis: StoreBasis, failures: dict[str, str]) -> None:
    """Write what makes a folder with ``pixels.bin`` a store.

    Args:
        folder: The folder.
        table: Rows of ``IDS``, in the order of the pixels.
        basis: How the crops were made.
        failures: Why an image has no crop, by id.
    """
    write_table(folder / "ids.parquet", table, {})
    note: dict[str, Any] = {
        "schema": _SCHEMA,
        "basis": basis._asdict(),
        "images": table.num_rows,
        "ids": _digest(table),
        "failures": failures,
    }
    write_json(folder / "store.json", note)


def append(folder: Path, part: Path) -> None:
    """Add to the store ``folder`` what the store ``part`` holds and it does not.

    Called again after a kill, it ends with the same bytes.

    Args:
        folder: The store that grows.
        part: One of the same basis; it may have no crop, but failures.
    """
    basis, old_failures, old = _read_notes(folder)
    _, failures, more = _read_notes(part)
    new = np.flatnonzero(find(old, more) == ABSENT)
    table = pa.concat_tables([old, more.take(pa.array(new))]) if len(new) else old
    names = set(more["id"].to_pylist())
    failures = {k: v for k, v in old_failures.items() if k not in names} | failures
    if not len(new) and failures == old_failures:
        return
    image_bytes = 3 * basis.size**2
    with (folder / "pixels.bin").open("r+b") as to, (part / "pixels.bin").open("rb") as source:
        to.truncate(old.num_rows * image_bytes)  # what a killed run appended and did not note
        to.seek(0, os.SEEK_END)
        for row in new.tolist():
            source.seek(row * image_bytes)
            to.write(source.read(image_bytes))
        to.flush()
        os.fsync(to.fileno())
    write_notes(folder, table, basis, failures)


def check_basis(folder: Path, found: StoreBasis, wanted: StoreBasis) -> None:
    """Refuse crops that were made in another way than is wanted now.

    Raises:
        UserError: They differ; each difference is named.
    """
    differences = [
        f"{name} {old} there, {new} here"
        for name, old, new in zip(StoreBasis._fields, found, wanted, strict=True)
        if old != new
    ]
    if differences:
        raise UserError(
            f"{folder}: was prepared otherwise ({'; '.join(differences)}); "
            "choose another place with -o, or delete it first"
        )


def _read_notes(folder: Path) -> tuple[StoreBasis, dict[str, str], pa.Table]:
    """Basis, failures and rows of the store in ``folder``.

    Raises:
        UserError: A file is missing, damaged or from another store.
    """
    note = read_json(folder / "store.json", what=WHAT)
    table, _ = read_table(folder / "ids.parquet", IDS, what=WHAT)
    try:
        basis, failures = StoreBasis(**note["basis"]), note["failures"]
        table = table.slice(0, note["images"])
        digest = note["ids"]
    except (KeyError, TypeError):
        raise UserError(f"{folder / 'store.json'}: is not {WHAT}") from None
    if digest != _digest(table):
        raise _torn(folder)
    return basis, failures, table


def _torn(folder: Path) -> UserError:
    return UserError(f"{folder}: its files are not of one store; delete it, prepare again")


def _digest(table: pa.Table) -> str:
    return digest_of(table, ("id", "sha256"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
