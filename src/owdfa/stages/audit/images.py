"""The images of an audit: rows of a manifest with the roles that a split gives them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.records.manifest import Manifest
from owdfa.records.rows import codes, indices_of, sorted_by_id
from owdfa.records.split import ROLES, Split

IDENTITY = "identity"  # a column that a user may add to a manifest
_UNHASHED = (
    "images that look alike were not looked for: they are not prepared; owdfa data prepare does it"
)
NOT_USED, TRAINING, TEST = -1, 0, 1  # sides of a split


@dataclass(frozen=True)
class Images:
    """Usable images.

    Attributes:
        place: What was audited.
        table: Rows of the manifest; with ``role`` where there is a split, and ``identity`` where
            the manifest has it.
        split: The split; None of a manifest alone.
        store: Its crops; None where they are not at hand.
        notes: What is not at hand.
    """

    place: Path
    table: pa.Table
    split: Split | None
    store: Store | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def classes(self) -> np.ndarray:
        """Number of the class of each: (N,) int64, -1 where nobody labelled it."""
        found = codes(self.table["class"])
        found[np.asarray(pc.is_null(self.table["class"]))] = -1
        return found

    @cached_property
    def groups(self) -> np.ndarray:
        """Number of the group of each: (N,) int64; an image without one is its own."""
        return codes(pc.coalesce(self.table["group"], self.table["id"]))

    @cached_property
    def roles(self) -> np.ndarray:
        """Place among ``ROLES`` of each: (N,) int64, -1 without a split."""
        if self.split is None:
            return np.full(len(self), -1)
        return np.asarray(pc.index_in(self.table["role"], pa.array(ROLES))).astype(np.int64)

    @cached_property
    def sides(self) -> np.ndarray:
        """``TRAINING``, ``TEST`` or ``NOT_USED`` of each: (N,) int64."""
        tested, unused = ROLES.index("test"), ROLES.index("unused")
        used = np.where(self.roles == tested, TEST, TRAINING)
        return np.where((self.roles < 0) | (self.roles == unused), NOT_USED, used)

    def name(self, row: int) -> str:
        """Id of an image."""
        return str(self.table["id"][row])


def read_images(place: Path, manifest: Path | None, store: Path | None) -> Images:
    """Read a split with the manifest that it was made from, or a manifest.

    Args:
        place: Folder of a split, or the file of a manifest.
        manifest: Of the split, where it has moved.
        store: Folder of the crops; None for the one that the manifest names.

    Raises:
        UserError: They cannot be read, or do not belong together.
    """
    split = Split.read(place) if place.is_dir() else None
    path = place if split is None else manifest or Path(split.basis.manifest)
    try:
        found = Manifest.read(path)
    except UserError as error:
        if split is None or manifest is not None:
            raise
        raise UserError(f"{error}; name it with --manifest") from None
    table = found.table
    if (identities := _identities(path, len(table))) is not None:
        table = table.append_column(IDENTITY, identities)
    table = sorted_by_id(table.filter(pc.is_null(table["error"])))
    if not len(table):
        raise UserError(f"{path}: lists no usable image; scan a folder that holds some")
    if split is not None:
        table = _with_roles(table, split, path, place)
    crops, note = _open_store(found, store)
    unhashed = table["phash"].null_count == len(table)
    notes = (note, _UNHASHED if unhashed else None)
    return Images(place, table, split, crops, tuple(filter(None, notes)))


def _with_roles(table: pa.Table, split: Split, path: Path, place: Path) -> pa.Table:
    """Rows of the split, with their roles."""
    rows = indices_of(split.table["id"], table["id"])
    if (rows < 0).any():
        name = str(split.table["id"][int(np.argmin(rows))])
        raise UserError(
            f"{path}: does not list {name!r} of {place}; name the manifest that the split was made"
            " from with --manifest"
        )
    kept = table.take(rows)
    if not kept["sha256"].equals(split.table["sha256"]):
        raise UserError(f"{path}: has other files than {place} was made from; split it again")
    return kept.append_column("role", split.table["role"])


def _identities(path: Path, num_rows: int) -> pa.ChunkedArray | None:
    """The column of persons, as text; None where the manifest has none."""
    with path.open("rb") as file:
        if IDENTITY not in pq.read_schema(file).names:
            return None
        file.seek(0)
        column = pq.read_table(file, columns=[IDENTITY])[IDENTITY]
    assert len(column) == num_rows
    return column.cast(pa.string())


def _open_store(manifest: Manifest, given: Path | None) -> tuple[Store | None, str | None]:
    """The crops; or None, and why, where there should be some."""
    if given is not None:
        return Store.open(given), None
    if manifest.store is None:
        return None, None
    try:
        return Store.open(manifest.store), None
    except UserError as error:
        return None, f"crops are not at hand ({error}); name them with --store"
