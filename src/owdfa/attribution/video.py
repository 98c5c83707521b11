"""Verdicts of videos: one for each face that is followed through the frames.

    for file, verdict in attribute_files(Attributor.open("runs/first"), files):
        verdict.video, verdict.verdicts[0].track

Frames are decoded one after the other, searched for faces in threads, and forgotten: what stays of
a face in a frame is its box and its probabilities. ``calibration.pooling`` has the rule by which
the frames of a track become one verdict.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from owdfa.attribution.attributor import Attributor
from owdfa.attribution.subjects import (
    CropRule,
    FileFacts,
    Subject,
    find_subjects,
    problem,
    variants,
)
from owdfa.attribution.verdicts import Seen, not_applicable, stable_statement, verdict_of
from owdfa.calibration.pooling import pooled, pooled_coverage, pooled_set
from owdfa.calibration.statements import scaled
from owdfa.images import boxes
from owdfa.images.decode import BadImageError
from owdfa.images.phash import thumb
from owdfa.images.tracks import Tracker
from owdfa.images.video import Frame, Video, is_video, open_video, pyav_version
from owdfa.images.workers import threaded_map
from owdfa.inference.lists import ImageFile
from owdfa.inference.session import BatchOutput
from owdfa.records import verdict as records
from owdfa.records.calibration import Calibration
from owdfa.records.verdict import FileVerdict, PredictionSet, Track, TrackFrame, Verdict

_MAX_BYTES = 2**30  # of frames that wait
_MAX_KEPT = 16  # frames of a track that are changed, to see whether its verdict is stable
_WHOLE = -1  # number of the track of whole frames


class _Seen(NamedTuple):
    """A frame, and what was found in it."""

    time: float
    size: tuple[int, int]  # width and height
    subjects: tuple[Subject, ...]
    thumb: np.ndarray  # (32, 32) uint8 grey


@dataclass
class _Sightings:
    """What is kept of a track while it is open."""

    shown: Subject  # where it is largest
    shown_at: float
    times: list[float] = field(default_factory=list)
    boxes: list[records.Box | None] = field(default_factory=list)
    rows: list[np.ndarray | None] = field(default_factory=list)  # (C,) float32, calibrated
    scores: float | np.ndarray = 0.0  # (S,), sum over the frames that are used
    log_ratios: float | np.ndarray = 0.0  # (C,) or (0,), the same
    num_used: int = 0
    kept: list[dict[str, np.ndarray]] = field(default_factory=list)  # changed crops
    stride: int = 1  # of the frames with changed crops

    def add(self, time: float, subject: Subject, rule: CropRule) -> None:
        """Add a frame."""
        self.times.append(time)
        self.boxes.append(subject.box)
        self.rows.append(None)
        rank = [(each.problem is None, each.size or 0) for each in (subject, self.shown)]
        if rank[0] > rank[1]:
            self.shown, self.shown_at = subject, time
        if subject.problem is None:
            self._keep(subject, rule)
            self.num_used += 1

    def _keep(self, subject: Subject, rule: CropRule) -> None:
        """Change a crop, of few frames that lie evenly, however many there will be."""
        if self.num_used % self.stride == 0:
            self.kept.append(variants(subject, rule))
        if len(self.kept) > _MAX_KEPT:
            self.kept, self.stride = self.kept[::2], 2 * self.stride


class _Waiting(NamedTuple):
    """A crop that the network has not seen."""

    track: _Sightings
    place: int  # among the frames of its track
    crop: np.ndarray


def attribute_files(
    attributor: Attributor, files: Iterable[ImageFile]
) -> Iterator[tuple[ImageFile, FileVerdict]]:
    """Give each image and each video its verdicts, in order; content says which is which."""
    for moving, some in groupby(files, key=lambda file: is_video(Path(file.path))):
        if moving:
            yield from ((file, attribute_video(attributor, file)) for file in some)
        else:
            yield from attributor.attribute(some)


def attribute_video(attributor: Attributor, file: ImageFile) -> FileVerdict:
    """Give a video its verdicts; one that cannot be used has one too, which says why."""
    facts, made, verdicts = FileFacts(), None, []
    try:
        facts = _facts_of(Path(file.path))
        with open_video(Path(file.path)) as video:
            facts = facts._replace(format=video.format)
            reading = _Reading(attributor)
            for seen in _look(video, attributor):
                facts = facts._replace(width=seen.size[0], height=seen.size[1])
                reading.add(seen)
            verdicts = reading.verdicts()
            made = _record(video, reading.num_sampled)
    except BadImageError as error:
        verdicts = [not_applicable(_nothing(None, "undecodable", error.reason))]
    return FileVerdict(
        path=file.id,
        **facts._asdict(),
        verdicts=tuple(verdicts),
        attribution=attributor.attribution.digest,
        video=made,
    )


class _Reading:
    """Gathers the tracks of a video; one that has ended is judged and forgotten."""

    def __init__(self, attributor: Attributor) -> None:
        self.attributor = attributor
        self.tracker = Tracker(attributor.attribution.frame_interval)
        self.num_sampled = 0
        self._open: dict[int, _Sightings] = {}
        self._done: dict[int, Verdict] = {}
        self._waiting: list[_Waiting] = []
        self._smallest = 0

    def add(self, seen: _Seen) -> None:
        """Add the next frame."""
        self.num_sampled += 1
        self._smallest = min(seen.size)
        for subject, number in zip(seen.subjects, self._tracks_of(seen), strict=True):
            track = self._open.setdefault(number, _Sightings(subject, seen.time))
            track.add(seen.time, subject, self.attributor.rule)
            if subject.problem is None:
                self._waiting.append(_Waiting(track, len(track.rows) - 1, subject.pixels))
        if len(self._waiting) >= self.attributor.predictor.session.batch_size:
            self._flush()
        self._judge(set(self._open) - self.tracker.open - {_WHOLE})

    def verdicts(self) -> list[Verdict]:
        """One a track, in order of their first frames, or the one that there is none."""
        self._judge(set(self._open))
        found = dict(sorted(self._done.items()))
        if not found:
            faces = self.attributor.rule.faces
            reason = f"the detector {faces} finds no face in {self.num_sampled} frames"
            return [not_applicable(_nothing(self._smallest, "no-face", reason))]
        if len(found) > 1:  # whole frames count where no frame has a face
            found.pop(_WHOLE, None)
        return list(found.values())

    def _tracks_of(self, seen: _Seen) -> list[int]:
        """The number of each subject's track."""
        found = [each.box for each in seen.subjects if each.box is not None]
        places = [boxes.Box(**dict(box)) for box in found]
        numbers = self.tracker.update(seen.time, places, seen.thumb)
        return numbers if len(found) == len(seen.subjects) else [_WHOLE]

    def _flush(self) -> None:
        """Give the network all crops that wait."""
        waiting, self._waiting = self._waiting, []
        decision = self.attributor.decision
        output = self.attributor.predict([each.crop for each in waiting])
        rows = scaled(output.probabilities, decision.temperature)
        scores = decision.scores(output.probabilities)
        for i, (track, place, _) in enumerate(waiting):
            track.rows[place] = rows[i].astype(np.float32)
            track.scores = track.scores + scores[i]
            track.log_ratios = track.log_ratios + output.log_ratios[i].astype(np.float64)

    def _judge(self, ended: set[int]) -> None:
        if ended:
            self._flush()
        for number in ended:
            self._done[number] = _verdict(self.attributor, self._open.pop(number))


def _look(video: Video, attributor: Attributor) -> Iterator[_Seen]:
    """Search frames for faces in threads; the frames that wait are few, however large they are."""
    width, height = video.size
    most = _MAX_BYTES // max(2 * 3 * width * height, 1)
    jobs = max(min(attributor.jobs, most), 1)
    frames = video.frames(attributor.attribution.frame_interval)
    return threaded_map(partial(_see, attributor.rule), frames, jobs)


def _see(rule: CropRule, frame: Frame) -> _Seen:
    image = Image.fromarray(frame.pixels)
    found = find_subjects(image, FileFacts(), rule)
    return _Seen(frame.time, image.size, found, thumb(image))


def _verdict(attributor: Attributor, track: _Sightings) -> Verdict:
    """The verdict of a track, from all frames in which its face is large enough."""
    if not track.num_used:
        found = not_applicable(track.shown)
        return found.model_copy(update={"track": _track(track, ())})
    rows = np.stack([row for row in track.rows if row is not None])
    decision, seen = attributor.decision, _together(attributor, track, rows)
    found = verdict_of(attributor.attribution, decision, track.shown, seen)
    made = stable_statement(seen)
    first = int(seen.probabilities.argmax())
    classes = (first,) if made is None else decision.statements[made].classes
    return found.model_copy(
        update={
            "track": _track(track, classes),
            "prediction_set": _prediction_set(attributor.attribution.calibration, rows),
            "sentence": f"{found.sentence} {_frames_in_words(track.times, len(rows))}",
        }
    )


def _together(attributor: Attributor, track: _Sightings, rows: np.ndarray) -> Seen:
    """What the network made of all frames of a track together."""
    probabilities, scores = pooled(rows), np.asarray(track.scores) / track.num_used
    passing = attributor.decision.passing(scores)
    log_ratios = np.asarray(track.log_ratios)[None] / track.num_used
    (ratio,) = attributor.ratios(BatchOutput(probabilities[None], log_ratios[:, :0], log_ratios))
    changed = {}
    if passing:
        for name in track.kept[0]:
            output = attributor.predict([each[name] for each in track.kept])
            changed[name] = pooled(attributor.decision.scores(output.probabilities))
    return Seen(probabilities, scores, passing, changed, ratio)


def _prediction_set(calibration: Calibration, rows: np.ndarray) -> PredictionSet:
    known = calibration.known
    inside = pooled_set(rows[:, : len(known)], calibration.set_threshold)
    return PredictionSet(
        classes=tuple(name for name, is_in in zip(known, inside, strict=True) if is_in),
        coverage=pooled_coverage(calibration.coverage),
    )


def _track(track: _Sightings, classes: Sequence[int]) -> Track:
    """A track for the record, with the probability of some classes in each frame."""
    frames = [
        TrackFrame(
            time=round(time, 6),
            box=box,
            probability=None if row is None else min(float(row[list(classes)].sum()), 1.0),
        )
        for time, box, row in zip(track.times, track.boxes, track.rows, strict=True)
    ]
    return Track(shown=round(track.shown_at, 6), num_used=track.num_used, frames=tuple(frames))


def _frames_in_words(times: Sequence[float], num_used: int) -> str:
    first, last = times[0], times[-1]
    if len(times) == 1:
        return f"This is of one frame, at {first:.1f} s."
    return f"This is of {num_used} frames from {first:.1f} s to {last:.1f} s together."


def _nothing(size: int | None, reason: str, detail: str) -> Subject:
    return Subject(None, size, None, None, problem(reason, detail))


def _record(video: Video, num_sampled: int) -> records.Video:
    return records.Video(
        codec=video.codec,
        duration=video.duration,
        num_frames=video.num_frames,
        num_sampled=num_sampled,
        decoder=f"PyAV {pyav_version()}",
        notes=tuple(video.notes),
    )


def _facts_of(path: Path) -> FileFacts:
    """Size and SHA-256 of a file, read in parts.

    Raises:
        BadImageError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return FileFacts(digest, stream.tell())
    except OSError as error:
        raise BadImageError(path, f"cannot be read ({error.strerror or error})") from None
