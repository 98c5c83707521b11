"""Scores: how good predictions are, and what that rests on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from owdfa.errors import UserError
from owdfa.files import read_json, write_text

SCHEMA = "owdfa/scores/1"


class ScoreBasis(TypedDict):
    """What scores rest on."""

    split_digest: str
    rule: str  # "group" or "paper"
    protocol: str | None
    split_seed: int
    seed: int  # of the run
    selection: str  # "last", "validation", or "oracle": test labels chose the checkpoint
    run: str
    method: str
    weights_digest: str
    commit: str
    images: str  # "split:test", or the folder predicted on
    precision: str | None  # that predictions were computed in; None where they do not say


class Agreement(TypedDict):
    """Clustering accuracy, normalised mutual information, adjusted Rand index."""

    acc: float
    nmi: float
    ari: float


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
    predicted: int  # indices that occur among the predictions: the types found
    live: int  # classes of the run, whether predicted or not: its own estimate


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
        basis: What the scores rest on.
        num_images: How many images were scored and how many left out.
        conventions: By ``"paper"`` and ``"gcd-v2"``, then ``"all"``, ``"known"``, ``"novel"``.
        num_classes: True and estimated number of classes.
        num_novel: Novel classes, and those found as types of their own.
        novel_given_to_known: Share of images of novel classes predicted as a known class.
        known_given_to_novel: Share of images of known classes predicted as a novel one.
        calibration: Confidence against accuracy. An image of a known class is right when it is
            predicted as that class; one of a novel class when predicted as its gcd-v2 match.
        per_class: One entry a class that was scored, known classes first.
        confusion: Images by true class and predicted name.
    """

    basis: ScoreBasis
    num_images: NumImages
    conventions: dict[str, dict[str, Agreement]]
    num_classes: NumClasses
    num_novel: NumNovel
    novel_given_to_known: float
    known_given_to_novel: float
    calibration: Calibration
    per_class: list[ClassScore]
    confusion: Confusion

    def write(self, path: Path) -> None:
        """Write JSON, a line for each attribute, whole or not at all.

        Raises:
            UserError: Something other than scores is there, or it cannot be written.
        """
        values = {"schema": SCHEMA, **vars(self)}
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
        try:
            schema = values.pop("schema")
            scores = cls(**values)
        except (AttributeError, KeyError, TypeError):
            raise UserError(f"{path}: is not {what}") from None
        if schema != SCHEMA:
            raise UserError(f"{path}: holds {schema!r}, this version reads {SCHEMA!r}; score again")
        return scores


def is_scores(path: Path) -> bool:
    """Whether a file holds scores that this version reads."""
    try:
        Scores.read(path)
    except UserError:
        return False
    return True
