"""What can be said of an image, as sets of classes: the probability of a statement is their sum.

With a known class of real images, saying anything but "real" accuses the image; so each such
statement also needs the statement "it is not real" to pass its threshold.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from owdfa.records.calibration import Calibration
from owdfa.records.calibration import Statement as Kind

FLOOR = 0.5
"""The least threshold: of statements that exclude each other, at most one is made."""


class Statement(NamedTuple):
    """Something that can be said of an image."""

    kind: Kind
    name: str | None  # of the class, family or novel type
    classes: tuple[int, ...]  # it is true of images of these


def statements_of(
    classes: Sequence[str], num_known: int, real: Sequence[str], families: Mapping[str, str]
) -> tuple[Statement, ...]:
    """All that can be said, from the most to the least particular.

    Args:
        classes: Names by index, the known ones first.
        num_known: How many are known.
        real: Names of the known classes of real images.
        families: Family of each known class that has one.
    """
    known, novel = range(num_known), tuple(range(num_known, len(classes)))
    is_real = [classes[i] in real for i in known]
    forged = [i for i in known if not is_real[i]]
    found = [Statement("class", classes[i], (i,)) for i in forged]
    found += [Statement("novel", classes[i], (i,)) for i in novel]
    if novel:
        found.append(Statement("novel", None, novel))
    for family in sorted({families[classes[i]] for i in forged if classes[i] in families}):
        members = tuple(i for i in forged if families.get(classes[i]) == family)
        found.append(Statement("family", family, members))
    if any(is_real):
        found.append(Statement("forged", None, (*forged, *novel)))
        found.append(Statement("real", None, tuple(i for i in known if is_real[i])))
    return tuple(found)


def membership(statements: Sequence[Statement], num_classes: int) -> Bool[np.ndarray, "S C"]:
    """Of which classes each statement is true."""
    table = np.zeros((len(statements), num_classes), dtype=bool)
    for row, statement in zip(table, statements, strict=True):
        row[list(statement.classes)] = True
    return table


def scaled(
    probabilities: Float[np.ndarray, "images classes"], temperature: float
) -> Float[np.ndarray, "images classes"]:
    """Probabilities at another temperature."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    logits /= temperature
    logits -= logits.max(axis=1, keepdims=True)
    raised = np.exp(logits)
    result: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return result


def false_scores(
    probabilities: Float[np.ndarray, "images classes"],
    labels: Int[np.ndarray, "images"],
    statements: Sequence[Statement],
) -> Float[np.ndarray, "images"]:
    """The largest probability of one of ``statements`` that is false of an image; 0 without one."""
    table = membership(statements, probabilities.shape[1])
    wrong = np.where(table[:, labels].T, 0.0, probabilities @ table.T)
    result: np.ndarray = wrong.max(axis=1, initial=0.0)
    return result


def true_scores(
    probabilities: Float[np.ndarray, "images classes"],
    labels: Int[np.ndarray, "images"],
    statements: Sequence[Statement],
) -> Float[np.ndarray, "images"]:
    """The largest probability of one that is true of it; 0 without one."""
    table = membership(statements, probabilities.shape[1])
    right = np.where(table[:, labels].T, probabilities @ table.T, 0.0)
    result: np.ndarray = right.max(axis=1, initial=0.0)
    return result


class Decision:
    """Says which statements can be made of an image.

    Args:
        calibration: Of the run.
        classes: Names by index, the known ones first.
    """

    def __init__(self, calibration: Calibration, classes: Sequence[str]) -> None:
        self.temperature = calibration.temperature
        self.statements = statements_of(
            classes, len(calibration.known), calibration.real, calibration.families
        )
        self._table = membership(self.statements, len(classes)).T.astype(np.float64)
        limits = {each.statement: each.threshold for each in calibration.thresholds}
        kinds = [each.kind for each in self.statements]
        self._limits = np.array([limits.get(kind, 1.0) for kind in kinds])
        self._forged = kinds.index("forged") if "forged" in kinds else None
        self._accuses = np.array([kind != "real" for kind in kinds])

    def scores(
        self, probabilities: Float[np.ndarray, "images classes"]
    ) -> Float[np.ndarray, "images statements"]:
        """Calibrated probability of each statement, from probabilities at temperature 1."""
        result: np.ndarray = scaled(probabilities, self.temperature) @ self._table
        return result

    def passing(self, scores: Float[np.ndarray, "statements"]) -> list[int]:
        """Statements of an image that can be made, the most particular first."""
        passed = scores > self._limits
        if self._forged is not None and not passed[self._forged]:
            passed &= ~self._accuses
        found: list[int] = np.flatnonzero(passed).tolist()
        return found

    def leading(self, scores: Float[np.ndarray, "statements"]) -> int | None:
        """The most particular statement that is more likely than not; None without one."""
        return next(iter(np.flatnonzero(scores > FLOOR).tolist()), None)
