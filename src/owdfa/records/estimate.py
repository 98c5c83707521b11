"""The number of classes as it was estimated: what an estimator found, and in which embedding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.files import read_json, write_json

_FILE = "classes.json"
_ROUNDING = 1e-9  # scores that differ by less are equal


@dataclass(frozen=True)
class Curve:
    """What an estimator tried.

    Attributes:
        parameter: What was varied, e.g. ``"classes"``.
        score: What was measured, e.g. ``"accuracy of labelled images"``.
        candidates: Values of the parameter, increasing.
        scores: Score of each; greater is better.
        num_classes: Number of classes of each.
        chosen: Index of the candidate that a rule chose; None for the one of the best score.
    """

    parameter: str
    score: str
    candidates: tuple[float, ...]
    scores: tuple[float, ...]
    num_classes: tuple[int, ...]
    chosen: int | None = None

    @property
    def best(self) -> int:
        """Number of classes of the chosen candidate, or of the best one; of equals, of the last.

        Scores that rest on labelled images alone have plateaus: merging novel classes costs
        nothing. There the last candidate is the finest k-means that cuts no known class.
        """
        if self.chosen is not None:
            return self.num_classes[self.chosen]
        top = max(self.scores) - _ROUNDING
        pairs = zip(self.num_classes, self.scores, strict=True)
        return [number for number, score in pairs if score >= top][-1]


@dataclass(frozen=True)
class Estimate:
    """The number of classes.

    Attributes:
        estimator: Name of the estimator.
        num_classes: The estimate, from all images that were kept; never less than are known.
        interval: Between these lie nine tenths of the estimates from parts; None without parts.
        parts: The estimate from each part.
        curve: What the estimate was chosen from.
        num_images: How many images were kept.
    """

    estimator: str
    num_classes: int
    interval: tuple[int, int] | None
    parts: tuple[int, ...]
    curve: Curve
    num_images: int


class RunEstimate(Settings):
    """The estimate that a run is trained with: ``classes.json`` of its folder."""

    schema_: Literal["owdfa/classes/1"] = Field(default="owdfa/classes/1", alias="schema")
    embedding: str
    """Whose embedding it was made from: a run folder, or a backbone with its first weights."""
    weights_digest: str | None
    """Of that run; None for a backbone."""
    split_digest: str
    """Of the split whose training images were embedded."""
    estimate: Estimate

    @property
    def basis(self) -> tuple[str, str, str | None, str]:
        """Estimator, embedding and both digests: where these are equal, so is the estimate."""
        estimator = self.estimate.estimator
        return estimator, self.embedding, self.weights_digest, self.split_digest

    @property
    def line(self) -> str:
        """In a line, e.g. ``"13 classes estimated by gcd (interval 11-15) from ..."``."""
        found = self.estimate
        between = f" (interval {found.interval[0]}-{found.interval[1]})" if found.interval else ""
        return (
            f"{found.num_classes} classes estimated by {found.estimator}{between} from the"
            f" embedding of {self.embedding}"
        )

    def write(self, folder: Path) -> None:
        """Write it into a run folder."""
        write_json(folder / _FILE, self.model_dump(by_alias=True, mode="json"))

    @classmethod
    def find(cls, folder: Path) -> "RunEstimate | None":
        """Read that of a run folder; None where there is none.

        Raises:
            UserError: It is damaged.
        """
        path = folder / _FILE
        if not path.exists():
            return None
        try:
            return cls.model_validate(read_json(path, what="an estimate of the number of classes"))
        except ValidationError:
            raise UserError(
                f"{path}: is no estimate that this version reads; move it away, and train again"
            ) from None
