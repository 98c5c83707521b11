"""Predictions: what a run says of each image, and nothing about the truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_table, write_table
from owdfa.records.provenance import Provenance
from owdfa.records.types_found import TypesFound

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prediction", pa.string()),  # name of the class: a known one, or "novel-01", ...
        ("index", pa.int32()),  # its row among ``PredictionMetadata.classes``
        ("confidence", pa.float32()),  # largest softmax probability, temperature 1
        ("novel", pa.bool_()),
        ("known_probability", pa.float32()),  # largest probability of a known class
        ("top_index", pa.list_(pa.int32())),  # the five likeliest classes
        ("top_probability", pa.list_(pa.float32())),
        # Evidence, null where the method gives none: log10 likelihood ratios against the best other
        # explanation, which is another type or one that nobody has seen.
        ("log_ratio", pa.float32()),  # of the predicted type
        ("known_log_ratio", pa.float32()),  # of the known type with the greatest
        ("known_index", pa.int32()),  # which that is
        ("unseen_log_ratio", pa.float32()),  # of a type that nobody has seen, against the best type
        ("embedding", pa.list_(pa.float32())),  # may be null when not asked for
    ]
)


class PredictionMetadata(Settings):
    """What predictions are of, and what they rest on."""

    schema_: Literal["owdfa/predictions/4"] = Field(default="owdfa/predictions/4", alias="schema")
    run: str
    """The run folder, or the exported file."""
    images: str
    """``split:test``, or the folder predicted on."""
    images_digest: str | None
    """Digest of the split that the images are of; None for files."""
    classes: tuple[str, ...]
    """Names by index: the known ones, then novel-01, ..."""
    num_known: int
    """How many of them are known."""
    engine: str
    """The library that computed them, and its version."""
    provenance: Provenance
    """Of the network; ``precision`` is what was predicted in."""
    types_found: TypesFound | None = None
    """What its method found of the training images together; None where it says nothing."""


def class_names(known: Sequence[str], num_active: int) -> tuple[str, ...]:
    """Names by index: the known classes, then "novel-01" and so on, save names that are taken."""
    free = (name for i in count(1) if (name := f"novel-{i:02d}") not in known)
    return (*known, *islice(free, num_active - len(known)))


def count_types(tables: Iterable[pa.Table]) -> pa.Table:
    """Count the images of each predicted type.

    Args:
        tables: With the columns ``prediction``, ``confidence`` and ``novel``; read one by one.

    Returns:
        Columns ``prediction, novel, images`` and ``confidence``, the mean; most images first.
    """
    kept = [
        table.group_by(["prediction", "novel"]).aggregate(
            [("confidence", "count"), ("confidence", "sum")]
        )
        for table in tables
    ]
    sums = [("confidence_count", "sum"), ("confidence_sum", "sum")]
    whole = pa.concat_tables(kept).group_by(["prediction", "novel"]).aggregate(sums)
    images, total = whole["confidence_count_sum"], whole["confidence_sum_sum"]
    types = whole.select(["prediction", "novel"]).append_column("images", images)
    types = types.append_column("confidence", pc.divide(total, images))
    return types.sort_by([("images", "descending"), ("prediction", "ascending")])


@dataclass(frozen=True)
class Predictions:
    """Rows of ``SCHEMA``, in order of id, and what they rest on.

    Attributes:
        table: The rows.
        metadata: What they rest on.
        notes: What the user should know of how they were made; not written.
    """

    table: pa.Table
    metadata: PredictionMetadata
    notes: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_table(path, self.table, self.metadata.model_dump(by_alias=True))

    @classmethod
    def read(cls, path: Path, columns: Sequence[str] = SCHEMA.names) -> "Predictions":
        """Read predictions.

        Args:
            path: The file.
            columns: What to read; embeddings are most of a file, and scoring needs none.

        Raises:
            UserError: The file is missing, does not hold predictions, or those of another version.
        """
        wanted = pa.schema([SCHEMA.field(name) for name in columns])
        table, note = read_table(path, wanted, what="predictions (owdfa predict makes them)")
        try:
            return cls(table, PredictionMetadata.model_validate(note))
        except ValidationError:
            raise UserError(
                f"{path}: was written by another version of owdfa; run owdfa predict again"
            ) from None
