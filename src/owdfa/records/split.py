"""The split: what each image is for, and which classes are known."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.files import read_json, read_table, write_json, write_table
from owdfa.records.file_properties import FileProperties
from owdfa.records.rows import joined, sorted_by_id
from owdfa.records.training import UNLABELLED

ROLES = ("labelled", "unlabelled", "validation", "test", "unused")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("class", pa.string()),  # the truth, for scoring; training never reads it directly
        ("group", pa.string()),
        ("sha256", pa.string()),  # of the file: with the id, which crop of a store is meant
    ]
)


class TrainingRows(NamedTuple):
    """What training may know: labels of labelled images, and nothing else about the truth."""

    ids: Sequence[str] | pa.ChunkedArray  # of a split, a column: a million names cost 70 MB
    labels: np.ndarray  # int64, index into ``Split.label_names``, or UNLABELLED

    @property
    def num_labelled(self) -> int:
        """Number of images that carry a label."""
        return int((self.labels != UNLABELLED).sum())

    def only_labelled(self) -> "TrainingRows":
        """The labelled images alone."""
        chosen = self.labels != UNLABELLED
        ids = self.ids if isinstance(self.ids, pa.ChunkedArray) else pa.chunked_array([self.ids])
        return TrainingRows(ids.filter(pa.array(chosen)), self.labels[chosen])


class Basis(NamedTuple):
    """How a split was made."""

    manifest: str  # path of the manifest
    manifest_digest: str
    protocol: str | None
    rule: str  # "group" or "paper"
    seed: int
    labelled: float  # share of the known classes' training images that carry a label
    test: float
    validation: float  # share of the labelled images held back, known classes only


@dataclass(frozen=True)
class Split:
    """Roles of the images of a manifest.

    Attributes:
        table: Rows of ``SCHEMA``, sorted by ``id``.
        known: Names of the known classes; their order is their class index.
        novel: Names of the novel classes, for scoring.
        basis: How it was made.
        notes: What the user should know of it, e.g. a novel class that cannot be tested on.
        file_properties: What the form of the files alone gets right of the test images; None in
            a split of an earlier version.
    """

    table: pa.Table
    known: tuple[str, ...]
    novel: tuple[str, ...]
    basis: Basis
    notes: tuple[str, ...] = ()
    file_properties: FileProperties | None = None

    def digest(self) -> str:
        """SHA-256 over the sorted ids and roles and the known classes."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        rows = sorted_by_id(self.table.select(["id", "role"]))
        digest = hashlib.sha256(repr(self.known).encode())
        for batch in filter(len, rows.to_batches(max_chunksize=65536)):
            pairs = pc.binary_join_element_wise(batch["id"], batch["role"], "\0")
            digest.update(joined(pairs, "\0"))
            digest.update(b"\0")  # no path contains it, so nothing else gives the same bytes
        return digest.hexdigest()

    def with_role(self, *roles: str) -> pa.Table:
        """The rows that have one of ``roles``, in order of id."""
        return self.table.filter(pc.is_in(self.table["role"], pa.array(roles)))

    def num_images(self) -> dict[str, int]:
        """Number of images by role, for every role."""
        counts = self.table["role"].value_counts().to_pylist()
        found = {each["values"]: each["counts"] for each in counts}
        return {role: found.get(role, 0) for role in ROLES}

    def label_names(self, *, all_labels: bool = False) -> tuple[str, ...]:
        """Names of the classes that labels of ``training_rows`` are indices of."""
        return self.known + self.novel if all_labels else self.known

    def training_rows(self, *, all_labels: bool = False) -> TrainingRows:
        """Images to train on, in order of id; every hidden label is ``UNLABELLED``.

        Args:
            all_labels: Give hidden labels too, for a bound; then an index may be of a novel class,
                and an image without a class stays ``UNLABELLED``.
        """
        rows = self.with_role("labelled", "unlabelled")
        labels = self._indices(rows, self.label_names(all_labels=all_labels))
        if not all_labels:
            labels[np.asarray(pc.not_equal(rows["role"], "labelled"))] = UNLABELLED
        return TrainingRows(rows["id"], labels)

    def validation_rows(self) -> TrainingRows:
        """Held-back labelled images of known classes."""
        rows = self.with_role("validation")
        return TrainingRows(rows["id"], self._indices(rows, self.known))

    def _indices(self, rows: pa.Table, names: tuple[str, ...]) -> np.ndarray:
        found = pc.index_in(rows["class"], pa.array(names, pa.string()))
        return np.asarray(pc.fill_null(found, UNLABELLED)).astype(np.int64)

    def write(self, folder: Path) -> None:
        """Write ``roles.parquet``, then ``split.json``, each whole or not at all."""
        digest = self.digest()
        write_table(folder / "roles.parquet", self.table, {"digest": digest})
        note: dict[str, Any] = {
            "digest": digest,
            "known": list(self.known),
            "novel": list(self.novel),
            "images": self.num_images(),
            "basis": self.basis._asdict(),
            "notes": list(self.notes),
            "file_properties": self.file_properties and self.file_properties.as_json(),
        }
        write_json(folder / "split.json", note)

    @classmethod
    def read(cls, folder: Path, columns: Sequence[str] = SCHEMA.names) -> "Split":
        """Read a split, and check that its two files belong together.

        Args:
            folder: The split.
            columns: What to read; ``id`` and ``role`` must be among them.

        Raises:
            UserError: A file is missing, damaged or altered.
        """
        what = "a split (owdfa split makes one)"
        note = read_json(folder / "split.json", what=what)
        wanted = pa.schema([SCHEMA.field(name) for name in columns])
        table, _ = read_table(folder / "roles.parquet", wanted, what=what)
        try:
            basis = Basis(**note["basis"])
            known, novel = tuple(note["known"]), tuple(note["novel"])
            files = FileProperties.of_json(note.get("file_properties"))
            split = cls(table, known, novel, basis, tuple(note["notes"]), files)
            digest = note["digest"]
        except (KeyError, TypeError):
            raise UserError(f"{folder / 'split.json'}: is not {what}") from None
        if split.digest() != digest:
            raise UserError(f"{folder}: roles.parquet does not belong to split.json; split again")
        return split
