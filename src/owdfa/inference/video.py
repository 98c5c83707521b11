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
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from owdfa.calibration.pooling import pooled, pooled_coverage, pooled_set
from owdfa.calibration.statements import Decision, Supported
from owdfa.images import boxes
from owdfa.images.decode import BadImageError
from owdfa.images.phash import thumb
from owdfa.images.tracks import Tracker
from owdfa.images.video import Frame, Video, is_video, open_video
from owdfa.images.workers import threaded_map
from owdfa.inference.attribute import Attributor, not_applicable, said_of, verdict_of
from owdfa.inference.lists import ImageFile
from owdfa.inference.subjects import (
    CropRule,
    FileFacts,
    Subject,
    find_subjects,
    problem,
    variants,
)
from owdfa.records import verdict as records
from owdfa.records.verdict import FileVerdict, PredictionSet, Track, TrackFrame, Verdict

_MAX_BYTES = 2**30  # of frames that wait
_MAX_KEPT = 16  # crops of a track that are changed, to see whether its verdict is stable


class _Seen(NamedTuple):
    """A frame, and what was found in it."""

    time: float
    size: tuple[int, int]  # width and height
    subjects: tuple[Subject, ...]
    thumb: np.ndarray  # (32, 32) uint8 grey


@dataclass
class _Sightings:
    """What is kept of a track."""

    shown: Subject  # where it is largest
    shown_at: float
    times: list[float] = field(default_factory=list)
    boxes: list[records.Box | None] = field(default_factory=list)
    rows: list[np.ndarray | None] = field(default_factory=list)  # (C,) float32, calibrated
    kept: list[np.ndarray] = field(default_factory=list)  # every ``stride``-th crop
    stride: int = 1
    num_used: int = 0

    def add(self, time: float, subject: Subject) -> None:
        """Add a frame."""
        self.times.append(time)
        self.boxes.append(subject.box)
        self.rows.append(None)
        rank = [(each.problem is None, each.size or 0) for each in (subject, self.shown)]
        if rank[0] > rank[1]:
            self.shown, self.shown_at = subject, time
        if subject.problem is None:
            self._keep(subject.pixels)
            self.num_used += 1

    def _keep(self, crop: np.ndarray) -> None:
        """Keep a crop, so that those kept are few and lie evenly, however many there will be."""
        if self.num_used % self.stride == 0:
            self.kept.append(crop)
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
    """Gathers the tracks of a video."""

    def __init__(self, attributor: Attributor) -> None:
        self.attributor = attributor
        made = attributor.attribution
        self.decision = Decision(made.calibration, made.classes)
        self.tracker = Tracker(made.frame_interval)
        self.tracks: list[_Sightings] = []
        self.num_sampled = 0
        self._waiting: list[_Waiting] = []
        self._smallest = 0

    def add(self, seen: _Seen) -> None:
        """Add the next frame."""
        self.num_sampled += 1
        self._smallest = min(seen.size)
        for subject, number in zip(seen.subjects, self._tracks_of(seen), strict=True):
            if number == len(self.tracks):
                self.tracks.append(_Sightings(subject, seen.time))
            track = self.tracks[number]
            track.add(seen.time, subject)
            if subject.problem is None:
                self._waiting.append(_Waiting(track, len(track.rows) - 1, subject.pixels))
        if len(self._waiting) >= self.attributor.predictor.session.batch_size:
            self._flush()

    def verdicts(self) -> list[Verdict]:
        """One a track, or the one that there is none."""
        self._flush()
        if not self.tracks:
            faces = self.attributor.rule.faces
            reason = f"the detector {faces} finds no face in {self.num_sampled} frames"
            return [not_applicable(_nothing(self._smallest, "no-face", reason))]
        return [_verdict(self.attributor, self.decision, track) for track in self.tracks]

    def _tracks_of(self, seen: _Seen) -> list[int]:
        """The number of each subject's track; whole frames are one."""
        found = [each.box for each in seen.subjects if each.box is not None]
        if len(found) < len(seen.subjects):
            return [0]
        places = [boxes.Box(**dict(box)) for box in found]
        return self.tracker.update(seen.time, places, seen.thumb)

    def _flush(self) -> None:
        """Give the network all crops that wait."""
        waiting, self._waiting = self._waiting, []
        rows = self.attributor.probabilities(self.decision, [each.crop for each in waiting])
        for each, row in zip(waiting, rows, strict=True):
            each.track.rows[each.place] = row.astype(np.float32)


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


def _verdict(attributor: Attributor, decision: Decision, track: _Sightings) -> Verdict:
    """The verdict of a track, from all frames in which its face is large enough."""
    used = [row for row in track.rows if row is not None]
    if not used:
        found = not_applicable(track.shown)
        return found.model_copy(update={"track": _track(track, ())})
    rows = np.stack(used)
    probabilities = pooled(rows)
    supported = decision.supported(probabilities)
    changed = _changed(attributor, decision, track.kept) if supported else {}
    made = attributor.attribution
    found = verdict_of(made, decision, track.shown, probabilities, supported, changed)
    said = said_of(decision, probabilities, supported, changed)
    known = made.calibration.known
    inside = pooled_set(rows[:, : len(known)], made.calibration.set_threshold)
    return found.model_copy(
        update={
            "track": _track(track, said.statement.classes),
            "prediction_set": PredictionSet(
                classes=tuple(name for name, is_in in zip(known, inside, strict=True) if is_in),
                coverage=pooled_coverage(made.calibration.coverage),
            ),
            "sentence": f"{found.sentence} {_frames_in_words(track.times, len(rows))}",
        }
    )


def _changed(
    attributor: Attributor, decision: Decision, crops: Sequence[np.ndarray]
) -> dict[str, list[Supported]]:
    """What can be said of some frames together after each change."""
    made = [variants(crop) for crop in crops]
    return {
        name: decision.supported(
            pooled(attributor.probabilities(decision, [each[name] for each in made]))
        )
        for name in made[0]
    }


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
    return Subject(None, size, None, problem(reason, detail))


def _record(video: Video, num_sampled: int) -> records.Video:
    return records.Video(
        codec=video.codec,
        duration=video.duration,
        num_frames=video.num_frames,
        num_sampled=num_sampled,
        decoder=f"PyAV {version('av')}",
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
