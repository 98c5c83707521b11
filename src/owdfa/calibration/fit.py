"""Calibrate: temperature, thresholds and prediction sets, from images held out of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from owdfa.calibration.conformal import set_threshold
from owdfa.calibration.limits import groups_needed, tolerance_limit
from owdfa.calibration.statements import (
    FLOOR,
    Statement,
    false_scores,
    statements_of,
    true_scores,
)
from owdfa.calibration.temperature import cross_fitted, fit_temperature
from owdfa.config import Settings
from owdfa.metrics.calibration import calibration as reliability
from owdfa.records.calibration import (
    Calibration,
    ReliabilityBin,
    Threshold,
)
from owdfa.records.calibration import (
    Statement as Kind,
)
from owdfa.records.provenance import Provenance


class CalibrateOptions(Settings):
    """What is asked of verdicts."""

    budget: float = Field(default=0.01, gt=0, lt=1)
    """Share of groups of which each kind of statement may be false."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """With which the budget holds."""
    coverage: float = Field(default=0.9, gt=0, lt=1)
    """Of the prediction sets."""
    real: tuple[str, ...] | None = None
    """Known classes of real images; None for those of the family "real"."""


@dataclass(frozen=True)
class HeldOut:
    """Images held out of the training.

    Attributes:
        probabilities: (N, C) float32 at temperature 1, of all classes.
        labels: (N,) int64, index of the true class, which is known.
        groups: (N,) int64.
        no_face: Share of them in which the detector finds no face; None without a detector.
    """

    probabilities: Float[np.ndarray, "images classes"]
    labels: Int[np.ndarray, "images"]
    groups: Int[np.ndarray, "images"]
    no_face: float | None = None


@dataclass(frozen=True)
class Names:
    """What is known of the classes.

    Attributes:
        classes: Names by index, the known ones first.
        num_known: How many are known.
        real: Known classes of real images.
        families: Family of each known class that has one.
    """

    classes: Sequence[str]
    num_known: int
    real: Sequence[str]
    families: Mapping[str, str]


def calibrate(
    held_out: HeldOut,
    names: Names,
    options: CalibrateOptions,
    provenance: Provenance,
    notes: Sequence[str] = (),
) -> Calibration:
    """Calibrate a network; everything is measured at temperatures fitted to other groups.

    Args:
        held_out: Images of known classes, held out of the training.
        names: Of the classes.
        options: What is asked for.
        provenance: Of the network.
        notes: What a reader should know of the images.
    """
    raw, labels, groups = held_out.probabilities, held_out.labels, held_out.groups
    fitted = cross_fitted(raw, labels, groups)
    thresholds = _thresholds(HeldOut(fitted, labels, groups), names, options)
    right = fitted.argmax(axis=1) == labels
    before = reliability(raw.max(axis=1, initial=0), raw.argmax(axis=1) == labels)
    after = reliability(np.minimum(fitted.max(axis=1, initial=0), 1), right)
    missing = 1 - fitted[np.arange(len(labels)), labels]
    bound = set_threshold(missing, groups, options.coverage)
    return Calibration(
        known=tuple(names.classes[: names.num_known]),
        real=tuple(names.real),
        families=dict(names.families),
        temperature=fit_temperature(raw, labels, groups),
        thresholds=thresholds,
        coverage=options.coverage,
        set_threshold=min(bound, 1.0),
        num_images=len(labels),
        num_groups=len(np.unique(groups)),
        ece_before=before.ece,
        ece=after.ece,
        reliability=tuple(ReliabilityBin(**vars(each)) for each in after.bins),
        no_face=held_out.no_face,
        notes=(*notes, *_too_few(thresholds, options)),
        provenance=provenance,
    )


def _thresholds(
    held_out: HeldOut, names: Names, options: CalibrateOptions
) -> tuple[Threshold, ...]:
    """A threshold for each kind of statement that can be made at all."""
    statements = statements_of(names.classes, names.num_known, names.real, names.families)
    kinds = dict.fromkeys(each.kind for each in statements)
    is_real = np.isin(held_out.labels, [list(names.classes).index(name) for name in names.real])
    return tuple(
        _threshold(
            kind, [each for each in statements if each.kind == kind], held_out, is_real, options
        )
        for kind in kinds
    )


def _threshold(
    kind: Kind,
    statements: Sequence[Statement],
    held_out: HeldOut,
    is_real: Bool[np.ndarray, "images"],
    options: CalibrateOptions,
) -> Threshold:
    """The threshold of a kind of statement.

    Real images can be wronged by "forged", which every accusing statement needs, so the others
    are chosen by what they would say of forged images; "novel" is false of all.
    """
    wronged = {"forged": is_real, "novel": np.ones_like(is_real)}.get(kind, ~is_real)
    arguments = (held_out.probabilities, held_out.labels, statements)
    scores, right = false_scores(*arguments), true_scores(*arguments)
    limit = tolerance_limit(
        scores[wronged], held_out.groups[wronged], options.budget, options.confidence, FLOOR
    )
    found = true_scores_exist(held_out.labels, statements)
    return Threshold(
        statement=kind,
        threshold=limit.threshold,
        budget=options.budget,
        bound=limit.bound,
        confidence=options.confidence,
        num_groups=limit.num_groups,
        num_wronged=limit.num_wronged,
        recall=float((right[found] > limit.threshold).mean()) if found.any() else None,
    )


def true_scores_exist(
    labels: Int[np.ndarray, "images"], statements: Sequence[Statement]
) -> Bool[np.ndarray, "images"]:
    """Of which images one of the statements is true."""
    classes = sorted({each for statement in statements for each in statement.classes})
    return np.isin(labels, classes)


def _too_few(thresholds: Sequence[Threshold], options: CalibrateOptions) -> list[str]:
    """What to say where the groups are too few for the budget."""
    few = [each for each in thresholds if each.bound > each.budget]
    if not few:
        return []
    counts = ", ".join(f"{each.statement} {each.num_groups}" for each in few)
    needed = groups_needed(options.budget, options.confidence)
    return [
        f"a budget of {options.budget:.1%} takes {needed} held-out groups; there are fewer"
        f" for {counts}, and larger shares are stated there; hold more back with owdfa split"
        " --validation"
    ]
