"""From image files to verdicts: the way of ``predict``, and after it what may be said.

    attributor = Attributor.open("runs/first")
    for file, verdict in attributor.attribute(files):
        verdict.outcome.label

A statement is made where it passes its threshold, and stays more likely than not after two mild
changes of the crop: of the statements that pass, the most particular one that does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from owdfa.calibration.statements import FLOOR, Decision, Statement, scaled
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.images.decode import DECODER
from owdfa.images.faces import check_faces
from owdfa.images.workers import num_processes, threaded_map
from owdfa.inference.lists import ImageFile
from owdfa.inference.predictor import Predictor
from owdfa.inference.subjects import CropRule, Inspected, Subject, blur_of, inspect, variants
from owdfa.inference.wording import sentence
from owdfa.records.calibration import Calibration, Threshold
from owdfa.records.calibration import Statement as StatementKind
from owdfa.records.verdict import (
    FORGED,
    Alternative,
    Attribution,
    FileVerdict,
    Kind,
    OperatingPoint,
    Outcome,
    PredictionSet,
    Variant,
    Verdict,
)

_Item = TypeVar("_Item")

_TOP = 5  # alternatives that are kept
_FEW_FACES = 0.5  # share of held-out images without a face from which a whole image is looked at
_KINDS: dict[StatementKind, Kind] = {
    "class": "known",
    "novel": "novel",
    "family": "family",
    "forged": "family",
    "real": "real-consistent",
}


class AttributeOptions(Settings):
    """What is looked at."""

    min_size: int | None = Field(default=None, ge=1)
    """Shorter side in pixels that a face, or a whole image, must have; None: 64, or half a crop."""
    min_quality: int = Field(default=30, ge=0, le=100)
    """Estimated quality that a JPEG file must have."""
    jobs: int = Field(default=0, ge=0)
    """Threads that work at the same time; 0 for one a core."""
    copy_files: bool = False
    """Copy the files into the case."""


@dataclass(frozen=True)
class Attributor:
    """A network that is ready to give verdicts.

    Attributes:
        predictor: The network.
        attribution: What its verdicts rest on.
        rule: How crops are made.
        jobs: Threads that work at the same time.
    """

    predictor: Predictor
    attribution: Attribution
    rule: CropRule
    jobs: int

    @classmethod
    def open(cls, run: str | Path, options: AttributeOptions | None = None) -> "Attributor":
        """Start a run folder or an exported file that was calibrated.

        Raises:
            UserError: It is missing, damaged, or not calibrated.
        """
        options = options or AttributeOptions()
        jobs = num_processes(options.jobs)
        predictor = Predictor.open(run, num_callers=jobs)
        check_faces(predictor.faces)
        size = predictor.store_size
        calibration = _calibration_of(predictor)
        rule = CropRule(
            faces=predictor.faces,
            size=size,
            fit=predictor.fit,
            min_size=min(64, size // 2) if options.min_size is None else options.min_size,
            min_quality=options.min_quality,
            needs_face=predictor.faces != "none" and (calibration.no_face or 0.0) < _FEW_FACES,
        )
        attribution = Attribution(
            run=str(predictor.source),
            classes=predictor.classes,
            num_known=predictor.num_known,
            engine=predictor.session.engine,
            decoder=DECODER,
            faces=predictor.faces,
            store_size=size,
            fit=predictor.fit,
            min_size=rule.min_size,
            min_quality=rule.min_quality,
            calibration=calibration,
            provenance=predictor.provenance,
            version=version("owdfa"),
        )
        return cls(predictor, attribution, rule, jobs)

    def attribute(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, FileVerdict]]:
        """Give each file its verdicts, in order; memory does not grow with their number."""
        one = partial(self._attribute_some, self.attribution.digest)
        parts = _in_parts(files, self.predictor.session.batch_size)
        for part in threaded_map(one, parts, self.jobs):
            yield from part

    @cached_property
    def decision(self) -> Decision:
        """Says what can be said."""
        return Decision(self.attribution.calibration, self.attribution.classes)

    def _attribute_some(
        self, digest: str, files: Sequence[ImageFile]
    ) -> list[tuple[ImageFile, FileVerdict]]:
        """What a thread does: decode, crop, and give verdicts of all crops together."""
        inspected = [inspect(Path(file.path), self.rule) for file in files]
        verdicts = iter(self._verdicts([one for each in inspected for one in each.subjects]))
        return [
            (file, _line(file, each, [next(verdicts) for _ in each.subjects], digest))
            for file, each in zip(files, inspected, strict=True)
        ]

    def _verdicts(self, subjects: Sequence[Subject]) -> list[Verdict]:
        """Verdicts of subjects, in order."""
        good = [each for each in subjects if each.problem is None]
        rows = self._probabilities([each.pixels for each in good])
        scores = self.decision.scores(rows)
        passing = [self.decision.passing(each) for each in scores]
        changed = self._changed([each for each, found in zip(good, passing, strict=True) if found])
        seen = (
            Seen(row, score, found, next(changed) if found else {})
            for row, score, found in zip(rows, scores, passing, strict=True)
        )
        return [
            _verdict(self.attribution, self.decision, each, next(seen))
            if each.problem is None
            else _not_applicable(each)
            for each in subjects
        ]

    def _changed(self, subjects: Sequence[Subject]) -> Iterator[dict[str, np.ndarray]]:
        """Probability of each statement after each change, for each subject."""
        made = [variants(subject, self.rule) for subject in subjects]
        crops = [crop for each in made for crop in each.values()]
        scores = iter(self.decision.scores(self._probabilities(crops)))
        return iter([{name: next(scores) for name in each} for each in made])

    def _probabilities(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of crops at temperature 1: (B, C) float32."""
        found = [np.zeros((0, len(self.attribution.classes)), np.float32)]
        found += [
            self.predictor.predict_batch(np.stack(part)).probabilities
            for part in _in_parts(crops, self.predictor.session.batch_size)
        ]
        return np.concatenate(found)


class Seen(NamedTuple):
    """What the network made of a crop."""

    probabilities: np.ndarray  # (C,) at temperature 1
    scores: np.ndarray  # (S,) calibrated, of each statement
    passing: list[int]  # statements that can be made
    changed: dict[str, np.ndarray]  # scores after each change; empty where nothing can be said


def _in_parts(items: Iterable[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    """The items, some at a time."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part


def _calibration_of(predictor: Predictor) -> Calibration:
    """The calibration of a network.

    Raises:
        UserError: There is none, or it is of other weights.
    """
    source, run = predictor.source, predictor.run
    found = predictor.calibration if run is None else Calibration.read(source)
    if found is None and run is None:
        raise UserError(
            f"{source}: holds no calibration, so it gives no verdicts; run owdfa calibrate on the"
            " run folder, and export it again"
        )
    if found is None:
        raise UserError(
            f"{source}: is not calibrated, so it gives no verdicts; run owdfa calibrate {source}"
            " (its split must hold images back: --validation of owdfa split or owdfa run)"
        )
    if found.provenance.weights_digest != predictor.provenance.weights_digest:
        raise UserError(
            f"{source}: was calibrated with other weights; run owdfa calibrate {source} again"
        )
    return found


def outcome_of(statement: Statement) -> Outcome:
    """A statement as an outcome."""
    name = FORGED if statement.kind == "forged" else statement.name
    return Outcome(kind=_KINDS[statement.kind], name=name)


def _line(
    file: ImageFile, inspected: Inspected, verdicts: Sequence[Verdict], digest: str
) -> FileVerdict:
    facts = inspected.facts._asdict()
    return FileVerdict(path=file.id, **facts, verdicts=tuple(verdicts), attribution=digest)


def _not_applicable(subject: Subject) -> Verdict:
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


def _verdict(attribution: Attribution, decision: Decision, subject: Subject, seen: Seen) -> Verdict:
    """The verdict of a crop."""
    calibration, probability, point, accusation = attribution.calibration, None, None, None
    made = _stable(seen)
    stability = tuple(_variant(decision, name, found) for name, found in seen.changed.items())
    if made is None:
        outcome = _inconclusive(decision, seen, stability)
    else:
        statement = decision.statements[made]
        outcome, probability = outcome_of(statement), min(float(seen.scores[made]), 1.0)
        point = _point(calibration.find(statement.kind))
        accusation = _point(calibration.find("forged")) if outcome.accuses else None
    row = scaled(seen.probabilities[None], calibration.temperature)[0]
    return Verdict(
        box=subject.box,
        size=subject.size,
        blur=blur_of(subject.pixels),
        outcome=outcome,
        probability=probability,
        operating_point=point,
        accusation_point=accusation,
        alternatives=_alternatives(attribution, row),
        prediction_set=_prediction_set(calibration, row),
        stability=stability,
        sentence=sentence(outcome, probability, point, accusation),
    )


def _stable(seen: Seen) -> int | None:
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
