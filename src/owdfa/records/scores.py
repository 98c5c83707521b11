"""Scores: how good predictions are, and what that rests on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ValidationError

from owdfa.errors import UserError
from owdfa.files import read_json, write_text
from owdfa.records.file_properties import FileProperties
from owdfa.records.provenance import Provenance

SCHEMA = "owdfa/scores/3"


class ScoredSplit(TypedDict):
    """The split whose labels are the truth."""

    digest: str
    rule: str  # "group" or "paper"
    protocol: str | None
    seed: int


class Agreement(TypedDict):
    """Clustering accuracy, normalised mutual information, adjusted Rand index."""

    acc: float
    nmi: float
    ari: float


class Intervals(TypedDict):
    """Where the scores would lie with other test images: a bootstrap over groups."""

    level: float  # share of the draws between the two ends
    num_groups: int  # of test images; with few of them an interval is rough
    of: dict[str, list[float] | None]  # low and high by measure; None where there is no image


class NumImages(TypedDict):
    """How many images were scored, and how many were left out."""

    all: int
    known: int
    novel: int
    without_truth: int  # predicted, but no image of the role with a class in the split
    not_predicted: int  # of the role and with a class, but without a prediction


class NumClasses(TypedDict):
    """True and estimated number of classes."""

    true: int  # classes with an image among those scored
    in_use: int  # indices that occur among the predictions
    active: int  # classes of the run, whether predicted or not


class NumNovel(TypedDict):
    """Novel classes, and those found as types of their own."""

    true: int
    discovered: int  # the gcd-v2 match is a novel index and holds more than half the images


class Bin(TypedDict):
    """Images with a confidence in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Calibration(TypedDict):
    """Confidence against accuracy; bins without an image are left out."""

    mean_confidence: float
    accuracy: float
    ece: float
    bins: list[Bin]


class RatioScore(TypedDict):
    """Likelihood ratios of the known type that each image is most like, against the truth."""

    cllr: float | None  # bits: 0 right and sure, 1 says nothing; None without images of both kinds
    right: int  # images that this type did make
    wrong: int  # images that it did not: of novel types, or of another known one
    misled: float | None  # share of images of novel types with a ratio above 10


ClassScore = TypedDict(
    "ClassScore",
    {
        "class": str,
        "novel": bool,
        "num_images": int,
        "acc_paper": float,
        "acc_gcd_v2": float,
        "matched_to": str | None,  # predicted name by the gcd-v2 match
    },
)


class Confusion(TypedDict):
    """Images by true class (rows) and predicted name (columns: those that occur)."""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class Scores:
    """Scores under both conventions, and what they do not show.

    Attributes:
        run: The run folder, or the exported file.
        images: ``split:test``, or the folder predicted on.
        engine: The library that predicted, and its version.
        split: The split whose labels are the truth.
        provenance: What the predictions rest on.
        num_images: How many images were scored and how many left out.
        conventions: By ``"paper"`` and ``"gcd-v2"``, then ``"all"``, ``"known"``, ``"novel"``.
        intervals: Of accuracies under both conventions, and of ``novel_given_to_known``.
        macro_acc: Mean of the classes' gcd-v2 accuracies.
        novel_auroc: Chance that an image of a novel class has a lower largest probability of a
            known class than one of a known class; None where one of the two has no image.
        num_classes: True and estimated number of classes.
        num_novel: Novel classes, and those found as types of their own.
        novel_given_to_known: Share of images of novel classes predicted as a known class.
        known_given_to_novel: Share of images of known classes predicted as a novel one.
        calibration: Confidence against accuracy. An image of a known class is right when it is
            predicted as that class; one of a novel class when predicted as its gcd-v2 match.
        per_class: One entry a class that was scored, known classes first.
        confusion: Images by true class and predicted name.
        file_properties: What the form of the files alone gets right of the test images; None
            where the images are others, or the split is of an earlier version.
        ratios: Likelihood ratios against the truth; None where the method gives none.
    """

    run: str
    images: str
    engine: str
    split: ScoredSplit
    provenance: Provenance
    num_images: NumImages
    conventions: dict[str, dict[str, Agreement]]
    intervals: Intervals
    macro_acc: float
    novel_auroc: float | None
    num_classes: NumClasses
    num_novel: NumNovel
    novel_given_to_known: float
    known_given_to_novel: float
    calibration: Calibration
    per_class: list[ClassScore]
    confusion: Confusion
    file_properties: FileProperties | None = None
    ratios: RatioScore | None = None

    def write(self, path: Path) -> None:
        """Write JSON, a line for each attribute, whole or not at all.

        Raises:
            UserError: Something other than scores is there, or it cannot be written.
        """
        values = {"schema": SCHEMA, **vars(self), "provenance": self.provenance.model_dump()}
        values["file_properties"] = self.file_properties and self.file_properties.as_json()
        lines = (
            f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()
        )
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n", is_scores)

    @classmethod
    def read(cls, path: Path) -> "Scores":
        """Read scores.

        Raises:
            UserError: The file is missing or does not hold scores.
        """
        what = "scores (owdfa score makes them)"
        values: Any = read_json(path, what=what)
        if not isinstance(values, dict) or not str(values.get("schema")).startswith(
            "owdfa/scores/"
        ):
            raise UserError(f"{path}: is not {what}")
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise UserError(f"{path}: holds {schema!r}, this version reads {SCHEMA!r}; score again")
        try:
            values["provenance"] = Provenance.model_validate(values["provenance"])
            values["file_properties"] = FileProperties.of_json(values.get("file_properties"))
            return cls(**values)
        except (KeyError, TypeError, ValidationError):
            raise UserError(f"{path}: is not {what}") from None


def is_scores(path: Path) -> bool:
    """Whether a file holds scores, of this version or another."""
    try:
        values = read_json(path, what="scores")
    except UserError:
        return False
    return isinstance(values, dict) and str(values.get("schema")).startswith("owdfa/scores/")
