"""From what a network made of a crop to the verdict of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from owdfa.attribution.subjects import Subject, blur_of
from owdfa.attribution.wording import sentence
from owdfa.calibration.statements import FLOOR, Decision, Statement
from owdfa.records.calibration import Calibration, Threshold
from owdfa.records.calibration import Statement as StatementKind
from owdfa.records.verdict import (
    FORGED,
    Alternative,
    Attribution,
    Kind,
    OperatingPoint,
    Outcome,
    PredictionSet,
    Variant,
    Verdict,
)

_TOP = 5  # alternatives that are kept
_KINDS: dict[StatementKind, Kind] = {
    "class": "known",
    "novel": "novel",
    "family": "family",
    "forged": "family",
    "real": "real-consistent",
}


class Ratio(NamedTuple):
    """A likelihood ratio."""

    name: str  # of the known class
    log10: float  # against the best other explanation


class Seen(NamedTuple):
    """What the network made of a crop, or of the frames of a track together."""

    probabilities: np.ndarray  # (C,) calibrated
    scores: np.ndarray  # (S,) calibrated, of each statement
    passing: list[int]  # statements that can be made
    changed: dict[str, np.ndarray]  # scores after each change; empty where nothing can be said
    ratio: Ratio | None  # of the known class that has the greatest; None where there are none


def outcome_of(statement: Statement) -> Outcome:
    """A statement as an outcome."""
    name = FORGED if statement.kind == "forged" else statement.name
    return Outcome(kind=_KINDS[statement.kind], name=name)


def not_applicable(subject: Subject) -> Verdict:
    """The verdict of what is not looked at."""
    assert subject.problem is not None
    return Verdict(
        box=subject.box,
        size=subject.size,
        blur=None if subject.crop is None else blur_of(subject.crop),
        outcome=subject.problem,
        probability=None,
        operating_point=None,
        accusation_point=None,
        alternatives=(),
        prediction_set=None,
        stability=(),
        sentence=sentence(subject.problem, None, None, None),
    )


def verdict_of(
    attribution: Attribution, decision: Decision, subject: Subject, seen: Seen
) -> Verdict:
    """The verdict of a crop."""
    calibration, probability, point, accusation = attribution.calibration, None, None, None
    made = stable_statement(seen)
    stability = tuple(_variant(decision, name, found) for name, found in seen.changed.items())
    if made is None:
        outcome = _inconclusive(decision, seen, stability)
    else:
        statement = decision.statements[made]
        outcome, probability = outcome_of(statement), min(float(seen.scores[made]), 1.0)
        point = _point(calibration.find(statement.kind))
        accusation = _point(calibration.find("forged")) if outcome.accuses else None
    return Verdict(
        box=subject.box,
        size=subject.size,
        blur=blur_of(subject.pixels),
        outcome=outcome,
        probability=probability,
        operating_point=point,
        accusation_point=accusation,
        alternatives=_alternatives(attribution, seen.probabilities),
        prediction_set=_prediction_set(calibration, seen.probabilities),
        ratio_class=seen.ratio.name if seen.ratio else None,
        log10_ratio=seen.ratio.log10 if seen.ratio else None,
        stability=stability,
        sentence=sentence(outcome, probability, point, accusation),
    )


def stable_statement(seen: Seen) -> int | None:
    """The most particular statement that stays more likely than not after every change."""
    for each in seen.passing:
        if all(scores[each] > FLOOR for scores in seen.changed.values()):
            return each
    return None


def _inconclusive(decision: Decision, seen: Seen, stability: Sequence[Variant]) -> Outcome:
    if not seen.passing:
        return Outcome(kind="inconclusive", reason="unsure")
    before = outcome_of(decision.statements[seen.passing[0]])
    after = [f"{v.outcome.label} after {v.change}" for v in stability if v.outcome != before]
    detail = f"{before.label}, but {', '.join(after)}"
    return Outcome(kind="inconclusive", reason="unstable", detail=detail)


def _variant(decision: Decision, change: str, scores: np.ndarray) -> Variant:
    found = decision.leading(scores)
    if found is None:
        outcome = Outcome(kind="inconclusive", reason="unsure")
        return Variant(change=change, outcome=outcome, probability=None)
    outcome = outcome_of(decision.statements[found])
    return Variant(change=change, outcome=outcome, probability=min(float(scores[found]), 1.0))


def _point(threshold: Threshold | None) -> OperatingPoint | None:
    if threshold is None:
        return None
    return OperatingPoint(**threshold.model_dump(include=set(OperatingPoint.model_fields)))


def _alternatives(attribution: Attribution, probabilities: np.ndarray) -> tuple[Alternative, ...]:
    order = np.argsort(-probabilities, kind="stable")[:_TOP].tolist()
    return tuple(
        Alternative(
            name=attribution.classes[i],
            novel=i >= attribution.num_known,
            probability=float(probabilities[i]),
        )
        for i in order
    )


def _prediction_set(calibration: Calibration, probabilities: np.ndarray) -> PredictionSet:
    known = calibration.known
    inside = 1 - probabilities[: len(known)] <= calibration.set_threshold
    return PredictionSet(
        classes=tuple(name for name, is_in in zip(known, inside, strict=True) if is_in),
        coverage=calibration.coverage,
    )
