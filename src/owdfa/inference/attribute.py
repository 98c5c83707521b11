"""From image files to verdicts: the way of ``predict``, and after it what may be said.

    attributor = Attributor.open("runs/first")
    for file, verdict in attributor.attribute(files):
        verdict.outcome.label

A statement is made where it passes its threshold, of the crop and of two mild changes of it: of
the statements that pass for the crop, the most particular one that passes for both changes too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field

from owdfa.calibration.statements import Decision, Supported
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
    frame_interval: float = Field(default=0.2, gt=0)
    """Seconds between the frames of a video that are looked at."""
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
        smallest = min(64, size // 2) if options.min_size is None else options.min_size
        rule = CropRule(predictor.faces, size, predictor.fit, smallest, options.min_quality)
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
            frame_interval=options.frame_interval,
            calibration=_calibration_of(predictor),
            provenance=predictor.provenance,
            version=version("owdfa"),
        )
        return cls(predictor, attribution, rule, jobs)

    def attribute(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, FileVerdict]]:
        """Give each file its verdicts, in order; memory does not grow with their number."""
        decision = Decision(self.attribution.calibration, self.attribution.classes)
        one = partial(self._attribute_some, decision, self.attribution.digest)
        parts = _in_parts(files, self.predictor.session.batch_size)
        for part in threaded_map(one, parts, self.jobs):
            yield from part

    def _attribute_some(
        self, decision: Decision, digest: str, files: Sequence[ImageFile]
    ) -> list[tuple[ImageFile, FileVerdict]]:
        """What a thread does: decode, crop, and give verdicts of all crops together."""
        inspected = [inspect(Path(file.path), self.rule) for file in files]
        subjects = [subject for each in inspected for subject in each.subjects]
        verdicts = iter(self._verdicts(decision, subjects))
        return [
            (file, _line(file, each, [next(verdicts) for _ in each.subjects], digest))
            for file, each in zip(files, inspected, strict=True)
        ]

    def _verdicts(self, decision: Decision, subjects: Sequence[Subject]) -> list[Verdict]:
        """Verdicts of subjects, in order."""
        good = [each for each in subjects if each.problem is None]
        probabilities = self.probabilities(decision, [each.pixels for each in good])
        supported = [decision.supported(row) for row in probabilities]
        changed = iter(self._changed(decision, good, supported))
        rows = iter(zip(good, probabilities, supported, strict=True))
        found = []
        for subject in subjects:
            if subject.problem is not None:
                found.append(not_applicable(subject))
                continue
            _, row, statements = next(rows)
            after = next(changed) if statements else {}
            found.append(verdict_of(self.attribution, decision, subject, row, statements, after))
        return found

    def _changed(
        self,
        decision: Decision,
        subjects: Sequence[Subject],
        supported: Sequence[list[Supported]],
    ) -> list[dict[str, list[Supported]]]:
        """What can be said after each change, of the subjects of which anything can be."""
        made = [
            variants(subject.pixels)
            for subject, statements in zip(subjects, supported, strict=True)
            if statements
        ]
        rows = iter(self.probabilities(decision, [crop for each in made for crop in each.values()]))
        return [{name: decision.supported(next(rows)) for name in each} for each in made]

    def probabilities(self, decision: Decision, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Calibrated probabilities of crops: (B, C) float64."""
        size = self.predictor.session.batch_size
        found = [
            self.predictor.predict_batch(np.stack(part)).probabilities
            for part in _in_parts(crops, size)
        ]
        shape = (0, len(self.attribution.classes))
        return decision.scaled(np.concatenate(found) if found else np.zeros(shape, np.float32))


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


def outcome_of(statement: Supported) -> Outcome:
    """A statement as an outcome."""
    kind, name, _ = statement.statement
    return Outcome(kind=_KINDS[kind], name=FORGED if kind == "forged" else name)


def _line(
    file: ImageFile, inspected: Inspected, verdicts: Sequence[Verdict], digest: str
) -> FileVerdict:
    facts = inspected.facts._asdict()
    return FileVerdict(path=file.id, **facts, verdicts=tuple(verdicts), attribution=digest)


def not_applicable(subject: Subject) -> Verdict:
    """The verdict of what cannot be looked at."""
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
    attribution: Attribution,
    decision: Decision,
    subject: Subject,
    probabilities: np.ndarray,
    supported: Sequence[Supported],
    changed: dict[str, list[Supported]],
) -> Verdict:
    """The verdict of a crop.

    Args:
        attribution: What it rests on.
        decision: Of the run.
        subject: The face or image.
        probabilities: (C,) calibrated.
        supported: What can be said of it.
        changed: What can be said of it after each change.
    """
    calibration = attribution.calibration
    stable = _stable(supported, changed)
    outcome = _inconclusive(supported, changed) if stable is None else outcome_of(stable)
    probability = said_of(decision, probabilities, supported, changed).probability
    kind = stable.statement.kind if stable else None
    point = _point(calibration.find(kind)) if kind else None
    accusation = _point(calibration.find("forged")) if outcome.accuses else None
    return Verdict(
        box=subject.box,
        size=subject.size,
        blur=blur_of(subject.pixels),
        outcome=outcome,
        probability=min(probability, 1.0),
        operating_point=point,
        accusation_point=accusation,
        alternatives=_alternatives(attribution, probabilities),
        prediction_set=_prediction_set(calibration, probabilities),
        stability=tuple(_variant(name, found) for name, found in changed.items()),
        sentence=sentence(outcome, probability, point, accusation),
    )


def said_of(
    decision: Decision,
    probabilities: np.ndarray,
    supported: Sequence[Supported],
    changed: dict[str, list[Supported]],
) -> Supported:
    """The statement that is made, or that would be, of which a verdict states the probability."""
    stable = _stable(supported, changed)
    if stable is not None:
        return stable
    return supported[0] if supported else decision.likeliest(probabilities)


def _stable(
    supported: Sequence[Supported], changed: dict[str, list[Supported]]
) -> Supported | None:
    """The most particular statement that holds after every change too."""
    after = [{each.statement for each in found} for found in changed.values()]
    return next((s for s in supported if all(s.statement in found for found in after)), None)


def _inconclusive(supported: Sequence[Supported], changed: dict[str, list[Supported]]) -> Outcome:
    if not supported:
        return Outcome(
            kind="inconclusive", reason="unsure", detail="no statement passes its threshold"
        )
    before = outcome_of(supported[0]).label
    after = ", ".join(
        f"{_variant(name, found).outcome.label} after {name}" for name, found in changed.items()
    )
    return Outcome(kind="inconclusive", reason="unstable", detail=f"{before} turns into {after}")


def _variant(change: str, found: Sequence[Supported]) -> Variant:
    if found:
        return Variant(
            change=change, outcome=outcome_of(found[0]), probability=found[0].probability
        )
    return Variant(
        change=change, outcome=Outcome(kind="inconclusive", reason="unsure"), probability=None
    )


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
