"""The calibration of a run: ``calibration.json``, and what an exported model carries of it.

It is made of held-out groups of known classes: no test label and no image of a novel class is in.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import holds_mark, read_json, write_text
from owdfa.records.provenance import Provenance

FILE = "calibration.json"
_MARK = b'"owdfa/calibration/'
_WHAT = "a calibration (owdfa calibrate makes one)"

Statement = Literal["class", "family", "novel", "forged", "real"]
"""What can be said of an image: it is of this class; of this family; of none that is known; it is
not real; it is like the real images."""


class Threshold(Settings):
    """What the probability of a statement must exceed for the statement to be made.

    The budget is on groups: one counts as wronged when the statement is made, falsely, of any of
    its images. With ``confidence``, at most ``bound`` of new groups like these are wronged.
    """

    statement: Statement
    threshold: float
    """In [0, 1]; at 1 the statement is never made."""
    budget: float
    """Share of groups that may be wronged, as it was asked for."""
    bound: float
    """Share that holds with ``confidence``; above the budget where the groups are too few."""
    confidence: float
    num_groups: int
    """Held-out groups of which the statement would be false."""
    num_wronged: int
    """How many of them are wronged at this threshold."""
    recall: float | None
    """Share of held-out images of which it is true and is made; None where there is none."""


class ReliabilityBin(Settings):
    """Held-out images whose largest probability lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Calibration(Settings):
    """Temperature, thresholds and prediction sets of a network."""

    schema_: Literal["owdfa/calibration/1"] = Field(default="owdfa/calibration/1", alias="schema")
    known: tuple[str, ...]
    """The known classes, by index."""
    real: tuple[str, ...]
    """Those of real images; empty where none is known: then nothing is said to be real."""
    families: dict[str, str]
    """Family of each known class that has one."""
    temperature: float
    """What logits are divided by."""
    thresholds: tuple[Threshold, ...]
    coverage: float
    """Of the prediction sets."""
    set_threshold: float
    """A class is in the set where one minus its probability is at most this; from 1: all are."""
    num_images: int
    num_groups: int
    ece_before: float
    """Expected calibration error at temperature 1."""
    ece: float
    """The same at temperatures fitted to other groups."""
    reliability: tuple[ReliabilityBin, ...]
    """At temperatures fitted to other groups."""
    no_face: float | None = None
    """Share of them in which the detector finds no face; None without a detector."""
    notes: tuple[str, ...] = ()
    """What a reader should know, e.g. that the groups are too few for the budget."""
    provenance: Provenance
    """Of the network that it was made with."""

    def find(self, statement: Statement) -> Threshold | None:
        """The threshold of a statement; None where it is never made."""
        return next((each for each in self.thresholds if each.statement == statement), None)

    def write(self, folder: Path) -> None:
        """Write it into a run folder, whole or not at all; one of another version is replaced."""
        text = self.model_dump_json(by_alias=True, indent=1) + "\n"
        write_text(folder / FILE, text, lambda found: holds_mark(found, _MARK))

    @classmethod
    def read(cls, folder: Path) -> "Calibration | None":
        """Read that of a run folder; None where there is none.

        Raises:
            UserError: It is damaged, or of another version.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return cls.model_validate(read_json(path, what=_WHAT))
        except ValidationError:
            raise UserError(
                f"{path}: is no calibration that this version reads; run owdfa calibrate {folder}"
            ) from None
