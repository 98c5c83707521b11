"""From image files to verdicts: the way of ``predict``, and after it what may be said.

    attributor = Attributor.open("runs/first")
    for file, verdict in attributor.attribute(files):
        verdict.outcome.label

A statement is made where it passes its threshold, and stays more likely than not after two mild
changes of the crop: of the statements that pass, the most particular one that does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field

from owdfa.attribution.subjects import CropRule, Inspected, Subject, inspect, variants
from owdfa.attribution.verdicts import Ratio, Seen, not_applicable, verdict_of
from owdfa.calibration.statements import Decision, scaled
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.images.decode import DECODER
from owdfa.images.faces import check_faces
from owdfa.images.workers import num_processes, threaded_map
from owdfa.inference.lists import ImageFile
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import BatchOutput
from owdfa.records.calibration import Calibration
from owdfa.records.verdict import Attribution, FileVerdict, Verdict

_Item = TypeVar("_Item")

_FEW_FACES = 0.5  # share of held-out images without a face from which a whole image is looked at


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
        keep: Given the SHA-256 of each image and the embedding of its most confident face, by
            whichever thread; None to forget it.
    """

    predictor: Predictor
    attribution: Attribution
    rule: CropRule
    jobs: int
    keep: Callable[[str, np.ndarray], None] | None = None

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
            min_size=default_min_size(size) if options.min_size is None else options.min_size,
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
            frame_interval=options.frame_interval,
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
        subjects = [one for each in inspected for one in each.subjects]
        output = self.predict([each.pixels for each in subjects if each.problem is None])
        verdicts = iter(self._verdicts(subjects, output))
        if self.keep is not None:
            for sha256, row in _main_embeddings(inspected, output.embedding):
                self.keep(sha256, row)
        return [
            (file, _line(file, each, [next(verdicts) for _ in each.subjects], digest))
            for file, each in zip(files, inspected, strict=True)
        ]

    def _verdicts(self, subjects: Sequence[Subject], output: BatchOutput) -> list[Verdict]:
        """Verdicts of subjects, in order, by what the network says of those without a problem."""
        good = [each for each in subjects if each.problem is None]
        scores = self.decision.scores(output.probabilities)
        passing = [self.decision.passing(each) for each in scores]
        changed = self._changed([each for each, found in zip(good, passing, strict=True) if found])
        ratios = self.ratios(output)
        rows = scaled(output.probabilities, self.decision.temperature)
        seen = (
            Seen(row, score, found, next(changed) if found else {}, ratio)
            for row, score, found, ratio in zip(rows, scores, passing, ratios, strict=True)
        )
        return [
            verdict_of(self.attribution, self.decision, each, next(seen))
            if each.problem is None
            else not_applicable(each)
            for each in subjects
        ]

    def _changed(self, subjects: Sequence[Subject]) -> Iterator[dict[str, np.ndarray]]:
        """Probability of each statement after each change, for each subject."""
        made = [variants(subject, self.rule) for subject in subjects]
        output = self.predict([crop for each in made for crop in each.values()])
        scores = iter(self.decision.scores(output.probabilities))
        return iter([{name: next(scores) for name in each} for each in made])

    def ratios(self, output: BatchOutput) -> list[Ratio | None]:
        """The likelihood ratio of the known class that has the greatest, for each crop."""
        found = output.evidence(self.attribution.num_known)
        if found is None:
            return [None] * len(output.probabilities)
        names = [self.attribution.classes[i] for i in found.known_index]
        return [Ratio(name, float(log10)) for name, log10 in zip(names, found.known, strict=True)]

    def predict(self, crops: Sequence[np.ndarray]) -> BatchOutput:
        """What the network says of crops, at temperature 1."""
        size = self.predictor.session.batch_size
        parts = [self.predictor.predict_batch(np.stack(part)) for part in _in_parts(crops, size)]
        if parts:
            return BatchOutput(*map(np.concatenate, zip(*parts, strict=True)))
        nothing = np.zeros((0, 0), np.float32)
        return BatchOutput(
            np.zeros((0, len(self.attribution.classes)), np.float32), nothing, nothing
        )


def default_min_size(store_size: int) -> int:
    """The least size of a face, or of a whole image, by the size of a crop; in pixels."""
    return min(64, store_size // 2)


def _main_embeddings(
    inspected: Sequence[Inspected], rows: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """SHA-256 of images, and the embedding of the most confident face of each.

    Args:
        inspected: The images.
        rows: Embeddings of all subjects without a problem, in order.
    """
    rest = iter(rows)
    for each in inspected:
        found = [(one, next(rest) if one.problem is None else None) for one in each.subjects]
        _, row = max(found, key=lambda pair: pair[0].box.score if pair[0].box else 0.0)
        if row is not None and each.facts.sha256 is not None:
            yield each.facts.sha256, row


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


def _line(
    file: ImageFile, inspected: Inspected, verdicts: Sequence[Verdict], digest: str
) -> FileVerdict:
    facts = inspected.facts._asdict()
    return FileVerdict(path=file.id, **facts, verdicts=tuple(verdicts), attribution=digest)
