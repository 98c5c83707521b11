"""The manifest: one row an image, as its publisher labels it, before any split."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from owdfa.files import read_table, table_writer, write_table
from owdfa.records.rows import digest_of, sorted_by_id

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
        ("jpeg_quality", pa.int32()),  # 1 to 100, estimated; null for other formats
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
    def read(cls, path: Path, columns: Sequence[str] = SCHEMA.names) -> "Manifest":
        """Read a manifest.

        Args:
            path: The file.
            columns: What to read; a million rows are some 350 MB, and most stages need a part.

        Raises:
            UserError: The file is missing or is not a manifest.
        """
        wanted = pa.schema([SCHEMA.field(name) for name in columns])
        table, note = read_table(path, wanted, what="a manifest (owdfa data scan makes one)")
        store = note.get("store")
        return cls(table, note["dataset"], Path(store) if store else None)

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_table(path, self.table, _note(self.dataset, self.store))

    def usable(self) -> "Manifest":
        """The images without an error."""
        errors = self.table["error"]
        if errors.null_count == len(errors):
            return self
        return replace(self, table=self.table.filter(pc.is_null(errors)))

    def digest(self) -> str:
        """SHA-256 over id, content, class and group of the usable images, in order of id.

        Where the files lie, and what ``prepare`` adds, does not enter.
        """
        needed = replace(self, table=self.table.select([*_DIGESTED, "error"]))
        return digest_of(sorted_by_id(needed.usable().table), _DIGESTED)


def manifest_writer(
    path: Path, dataset: str
) -> AbstractContextManager[Callable[[pa.RecordBatch], None]]:
    """Write a manifest batch by batch, whole or not at all; see ``table_writer``.

    Args:
        path: The file.
        dataset: How the data set was named.
    """
    return table_writer(path, SCHEMA, _note(dataset, None))


def _note(dataset: str, store: Path | None) -> dict[str, str | None]:
    return {"dataset": dataset, "store": str(store) if store else None}
