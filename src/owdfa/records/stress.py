"""Stress: how far predictions hold when test images are corrupted, level by level."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_json, write_json
from owdfa.records.provenance import Provenance

FILE = "stress.json"
_WHAT = "a stress test (owdfa stress makes one)"


class Share(Settings):
    """A share of some images, with the interval of it when their groups are drawn anew."""

    value: float
    low: float | None
    high: float | None
    num_images: int


class StressLevel(Settings):
    """What became of the predictions at one level of one corruption."""

    name: str
    """As in ``jpeg-75``; ``none`` for the unchanged images, always the first level."""
    corruption: str
    """The family, as in ``jpeg``."""
    title: str
    label: str
    """The strength within the family; empty for ``none``."""
    function: str
    """Of ``owdfa.images.corruptions``; what was applied."""
    parameters: dict[str, Any]
    all: Share
    """Share of the images whose prediction is right."""
    known: Share | None
    """The same of known classes; None where there is no such image."""
    novel: Share | None
    same: Share
    """Share of the images whose prediction is that of the unchanged image."""
    per_class: dict[str, Share]
    """Right predictions by true class."""


class Stress(Settings):
    """A stress test of a run on test images of its split."""

    schema_: Literal["owdfa/stress/1"] = Field(default="owdfa/stress/1", alias="schema")
    run: str
    images: str
    """As in ``split:test``."""
    split_digest: str
    applied_to: Literal["originals", "crops"]
    """What was corrupted: the files before a face is sought, or the stored crops."""
    quick: bool
    """Whether the grid is the small one, of some images of each class."""
    engine: str
    decoder: str
    """What encoded and decoded the corrupted images, and its version."""
    provenance: Provenance
    known: tuple[str, ...]
    novel: tuple[str, ...]
    """Classes that were looked at."""
    num_images: int
    num_left_out: int
    """Images that could not be used."""
    num_groups: int
    interval: float
    """Share of the draws of groups between the two ends of an interval."""
    levels: tuple[StressLevel, ...]

    def families(self) -> dict[str, tuple[StressLevel, ...]]:
        """Levels of each corruption, mild to strong, with the unchanged images before them."""
        unchanged, *others = self.levels
        names = dict.fromkeys(level.corruption for level in others)
        return {
            name: (unchanged, *(each for each in others if each.corruption == name))
            for name in names
        }

    def write(self, path: Path) -> None:
        """Write JSON, whole or not at all.

        Raises:
            UserError: Something other than a stress test is there, or it cannot be written.
        """
        write_json(path, self.model_dump(by_alias=True))

    @classmethod
    def read(cls, path: Path) -> "Stress":
        """Read a stress test.

        Raises:
            UserError: The file is missing, or holds something else or another version of it.
        """
        try:
            return cls.model_validate(read_json(path, what=_WHAT))
        except ValidationError:
            raise UserError(f"{path}: is not {_WHAT} of this version; run it again") from None
