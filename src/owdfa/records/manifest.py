"""The manifest: one row an image, as its publisher labels it, before any split."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from owdfa.files import read_table, write_table

FACE = pa.struct(
    [
        ("left", pa.int32()),
        ("top", pa.int32()),
        ("right", pa.int32()),
        ("bottom", pa.int32()),
        ("score", pa.float32()),
    ]
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the path below the data set's root, with "/": the same everywhere
        ("path", pa.string()),  # where the file is on this machine
        ("class", pa.string()),  # null for an image that nobody labelled
        ("family", pa.string()),  # e.g. "swap"; "real" for real images; null when unknown
        ("source", pa.string()),  # the collection it was taken from; null when unknown
        ("group", pa.string()),  # video, identity or prompt: what a split may not cut
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),  # "JPEG", "PNG", ...
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("error", pa.string()),  # why the image cannot be used; null when it can
        ("phash", pa.uint64()),  # filled by prepare
        ("face", FACE),  # filled by prepare: the box in pixels of the file; null when none is found
    ]
)

_DIGESTED = ("id", "sha256", "class", "group")


@dataclass(frozen=True)
class Manifest:
    """The images of a data set.

    Attributes:
        table: Rows of ``SCHEMA``, sorted by ``id``; images with an ``error`` are among them.
        dataset: How it was named, e.g. ``"folder:photos"``.
        store: Folder of the prepared crops, once ``prepare`` has made it.
    """

    table: pa.Table
    dataset: str
    store: Path | None = None

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest.

        Raises:
            UserError: The file is missing or is not a manifest.
        """
        table, note = read_table(path, SCHEMA, what="a manifest (owdfa data scan makes one)")
        store = note.get("store")
        return cls(table, note["dataset"], Path(store) if store else None)

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        store = str(self.store) if self.store else None
        write_table(path, self.table, {"dataset": self.dataset, "store": store})

    def usable(self) -> "Manifest":
        """The images without an error."""
        return replace(self, table=self.table.filter(pc.is_null(self.table["error"])))

    def digest(self) -> str:
        """SHA-256 over id, content, class and group of the usable images, in order of id.

        Where the files lie, and what ``prepare`` adds, does not enter.
        """
        rows = self.usable().table.sort_by("id")
        digest = hashlib.sha256()
        for batch in rows.select(_DIGESTED).to_batches(max_chunksize=65536):
            columns = [batch.column(name).to_pylist() for name in _DIGESTED]
            for row in zip(*columns, strict=True):
                digest.update(repr(row).encode())
        return digest.hexdigest()
