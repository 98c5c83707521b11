"""What an evidence report shows of a video: the frame of each track, and its timeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from owdfa.images.decode import BadImageError
from owdfa.images.video import frames_at
from owdfa.records.verdict import FileVerdict, Track, Verdict, Video

WIDTH, HEIGHT = 600, 60
"""Of a timeline, in units of its drawing."""
MAX_SHOWN = 40
"""Tracks of a video with a picture; each is a whole frame in memory."""


class Point(NamedTuple):
    """A frame in a timeline."""

    x: float
    y: float
    time: float
    probability: float


def shown_frames(place: Path, file: FileVerdict, interval: float) -> Sequence[Image.Image | None]:
    """The frame that each verdict of a video shows; None where there is none.

    Args:
        place: The file.
        file: Its verdicts.
        interval: Seconds between the frames that were looked at.
    """
    times = [
        each.track.shown if each.track is not None and number < MAX_SHOWN else None
        for number, each in enumerate(file.verdicts)
    ]
    found: dict[float, Image.Image] = {}
    try:
        for frame in frames_at(place, (time for time in times if time is not None), interval):
            found[round(frame.time, 6)] = Image.fromarray(frame.pixels)
    except BadImageError:  # another version of the decoder, perhaps: verify finds it
        pass
    return [None if time is None else found.get(time) for time in times]


def video_facts(video: Video | None) -> list[tuple[str, str]]:
    """Names and values of what is known of a video."""
    if video is None:
        return []
    length = "" if video.duration is None else f", {video.duration:.1f} s"
    looked = f"{video.num_sampled:,} of {video.num_frames:,} frames looked at"
    facts = [("Video", f"{video.codec}{length}; {looked}; decoded by {video.decoder}")]
    return facts + [("Left out", each) for each in video.notes]


def in_frames(track: Track) -> str:
    """In which frames a track was seen."""
    first, last, num = track.frames[0].time, track.frames[-1].time, len(track.frames)
    return (
        f"seen in {num:,} frame{'' if num == 1 else 's'} from {first:.1f} s to {last:.1f} s,"
        f" {track.num_used:,} used; shown at {track.shown:.1f} s"
    )


def timeline(verdict: Verdict) -> list[Point]:
    """Where the frames of a verdict that were used lie in its timeline."""
    if verdict.track is None:
        return []
    frames = verdict.track.frames
    start, length = frames[0].time, max(frames[-1].time - frames[0].time, 1e-9)
    return [
        Point(
            x=WIDTH * (each.time - start) / length,
            y=HEIGHT * (1 - each.probability),
            time=each.time,
            probability=each.probability,
        )
        for each in frames
        if each.probability is not None
    ]
