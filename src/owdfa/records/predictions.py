"""Predictions: what a run says of each image, and nothing about the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from owdfa.errors import UserError
from owdfa.files import read_table, write_table

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prediction", pa.string()),  # name of the class: a known one, or "novel-01", ...
        ("index", pa.int32()),  # its row among ``PredictionBasis.classes``
        ("confidence", pa.float32()),  # largest softmax probability, temperature 1
        ("novel", pa.bool_()),
        ("top_index", pa.list_(pa.int32())),  # the five likeliest classes
        ("top_probability", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),  # may be null when not asked for
    ]
)


class PredictionBasis(NamedTuple):
    """What predictions rest on."""

    run: str  # folder of the run
    images: str  # "split:test", or the folder predicted on
    method: str
    classes: list[str]  # names by index: the known ones, then "novel-01", ...
    num_known: int
    split_digest: str | None
    selection: str  # "last", "validation" or "oracle"
    weights_digest: str  # SHA-256 of the weights file
    seed: int
    commit: str
    precision: str | None = None  # that it was computed in; None in files older than this record


def class_names(known: Sequence[str], num_active: int) -> list[str]:
    """Names by index: the known classes, then "novel-01" and so on, save names that are taken."""
    free = (name for i in count(1) if (name := f"novel-{i:02d}") not in known)
    return [*known, *islice(free, num_active - len(known))]


@dataclass(frozen=True)
class Predictions:
    """Rows of ``SCHEMA``, in order of id, and what they rest on."""

    table: pa.Table
    basis: PredictionBasis

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_table(path, self.table, self.basis._asdict())

    @classmethod
    def read(cls, path: Path, columns: Sequence[str] = SCHEMA.names) -> "Predictions":
        """Read predictions.

        Args:
            path: The file.
            columns: What to read; embeddings are most of a file, and scoring needs none.

        Raises:
            UserError: The file is missing or does not hold predictions.
        """
        what = "predictions (owdfa predict makes them)"
        wanted = pa.schema([SCHEMA.field(name) for name in columns])
        table, note = read_table(path, wanted, what=what)
        try:
            return cls(table, PredictionBasis(**note))
        except TypeError:
            raise UserError(f"{path}: is not {what}") from None
