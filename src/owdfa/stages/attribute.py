"""Attribute: verdicts of images and videos, into a case."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from owdfa.attribution.attributor import AttributeOptions, Attributor
from owdfa.attribution.video import attribute_files
from owdfa.case import Attributed, Case, is_case
from owdfa.errors import UserError
from owdfa.files import check_new
from owdfa.images.formats import NO_IMAGE
from owdfa.inference.embeddings import PART, move_embeddings
from owdfa.inference.lists import ImageFile, name_files, written
from owdfa.progress import OnProgress, no_progress
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.signatures import VIDEO

_PART = 512  # files that are added to the case together
_SHOWN = 30  # files that are kept to be shown


@dataclass
class Attributions:
    """What ``attribute`` found.

    Attributes:
        attribution: What the verdicts rest on.
        num_files: Number of files.
        outcomes: Number of verdicts by outcome and reason, in words.
        shown: Some files to show: all of few, of many those with an accusing verdict first.
        passed_over: Path and reason of each file in a folder that is no image.
        notes: What the user should know.
    """

    attribution: Attribution
    num_files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    shown: list[FileVerdict] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def count(self, files: Sequence[FileVerdict], total: int) -> None:
        """Count some more of ``total`` files."""
        self.num_files += len(files)
        self.shown += files
        if total > _SHOWN:
            self.shown = sorted(self.shown, key=_rank)[:_SHOWN]
        self.outcomes.update(each.outcome.brief for file in files for each in file.verdicts)


def _rank(file: FileVerdict) -> int:
    """What of many files is shown first: accusing verdicts, and last those of which none is."""
    outcome = file.outcome
    return 0 if outcome.accuses else 1 + (outcome.kind == "not-applicable")


def attribute(
    run: str | Path,
    images: Sequence[Path],
    output: Path,
    *,
    options: AttributeOptions | None = None,
    command: Sequence[str] = (),
    on_progress: OnProgress = no_progress,
) -> Attributions:
    """Give a verdict of every face in some images and videos, and add it to a case.

    Verdicts are added some hundred files at a time; those of a command that was stopped stay.
    Memory does not grow with the number of files, but for the paths.

    Args:
        run: A run folder, or a file that ``export`` made of one, that was calibrated.
        images: Image and video files, folders of them, and lists of them in Parquet.
        output: The case: a new folder, or a case to add to.
        options: What is looked at, and how.
        command: The command that was given, for the record.
        on_progress: Called with (files done, files in all).

    Raises:
        UserError: The run is not calibrated, there are no images, or ``output`` is something else.
    """
    case = Case.open(output) if is_case(output) else None
    if case is None:
        check_new(output, "case")
    attributor = Attributor.open(run, options)
    found = Attributions(attributor.attribution, notes=_notes(attributor))
    files = list(_files(images, found.passed_over))
    if not files:
        others = f" ({len(found.passed_over)} other files)" if found.passed_over else ""
        raise UserError(f"{images[0]}: no images there{others}; name images, or a folder of some")
    embeddings: dict[str, np.ndarray] = {}
    made = attribute_files(replace(attributor, keep=embeddings.__setitem__), files)
    first = list(islice(made, _PART))
    _check_some(first, len(files))
    copy = options is not None and options.copy_files
    case = case or Case.create(output)
    with case.writing():
        for part in chain([first], iter(lambda: list(islice(made, _PART)), [])):
            added = [Attributed(verdict, Path(file.path)) for file, verdict in part]
            case.add(added, found.attribution, command=command, copy=copy)
            found.count([verdict for _, verdict in part], len(files))
            if len(embeddings) >= PART:
                move_embeddings(case.folder, attributor.predictor, embeddings)
            on_progress(found.num_files, len(files))
    move_embeddings(case.folder, attributor.predictor, embeddings)
    return found


def _files(images: Sequence[Path], passed_over: list[tuple[str, str]]) -> Iterator[ImageFile]:
    """The files that are named, each by the name it was given."""
    for place in images:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder")
        named = name_files(place)
        prefix = f"{place.as_posix().rstrip('/')}/" if place.is_dir() else ""
        yield from (ImageFile(f"{prefix}{file.id}", file.path) for file in named.files)
        for path, reason in named.passed_over:
            if NO_IMAGE.format(VIDEO) in reason:
                yield ImageFile(f"{prefix}{written(Path(path).relative_to(place))}", path)
            else:
                passed_over.append((path, reason))


def _check_some(part: Sequence[tuple[ImageFile, FileVerdict]], total: int) -> None:
    """Refuse files of which none is an image or a video.

    Raises:
        UserError: All of them cannot be decoded.
    """
    outcomes = [verdict.outcome for _, verdict in part]
    if len(part) == total and all(each.reason == "undecodable" for each in outcomes):
        raise UserError(
            f"{part[0][0].path}: {outcomes[0].detail}; none of the {total} files named is an image"
            " or video that can be decoded"
        )


def _notes(attributor: Attributor) -> tuple[str, ...]:
    notes = attributor.predictor.notes
    made = attributor.attribution
    if made.provenance.is_oracle:
        notes = (*notes, f"ORACLE: {made.provenance.oracle}")
    if not made.calibration.real:
        advice = f"owdfa calibrate {made.run} --real CLASS names one"
        notes = (*notes, f"no known class is of real images, so nothing is called real; {advice}")
    return notes
