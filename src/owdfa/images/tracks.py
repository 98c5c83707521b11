"""Tracks: which faces in successive frames of a video are one.

A box continues the track whose last box it overlaps most, if their intersection over union is at
least ``MIN_OVERLAP``; the pairs that overlap most are joined first. A track ends when its face was
not found for ``MAX_GAP`` seconds, and every track ends at a cut. Faces are not compared: who leaves
and comes back is a new track, and who takes another's place without a cut continues the other's.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from owdfa.images.boxes import Box, overlap

MIN_OVERLAP = 0.3
"""Intersection over union; it is 1/3 where a box moves by half its width."""
MAX_GAP = 1.0
"""In seconds."""
CUT = 40.0
"""Mean difference of grey levels, of thumbnails, between frames on the two sides of a cut."""


class _Last(NamedTuple):
    """Where a track was seen last."""

    time: float
    box: Box


@final
class Tracker:
    """Gives each face of each frame the number of its track, from 0 on.

    Args:
        interval: Seconds between frames; a track outlives at least two of them without its face.
    """

    def __init__(self, interval: float = 0.0) -> None:
        self._max_gap = max(MAX_GAP, 2 * interval)
        self._open: dict[int, _Last] = {}
        self._num_tracks = 0
        self._thumb: np.ndarray | None = None

    @property
    def open(self) -> frozenset[int]:
        """Numbers of the tracks that may go on."""
        return frozenset(self._open)

    def update(self, time: float, boxes: Sequence[Box], thumb: np.ndarray) -> list[int]:
        """Tracks of the faces of the next frame.

        Args:
            time: Of the frame, in seconds.
            boxes: Its faces.
            thumb: The frame as (32, 32) uint8 grey.
        """
        if self._thumb is not None and is_cut(self._thumb, thumb):
            self._open = {}
        self._thumb = thumb
        self._open = {
            track: last for track, last in self._open.items() if time - last.time <= self._max_gap
        }
        found = self._match(boxes)
        for place in range(len(boxes)):
            if place not in found:
                found[place] = self._num_tracks
                self._num_tracks += 1
        self._open |= {track: _Last(time, boxes[place]) for place, track in found.items()}
        return [found[place] for place in range(len(boxes))]

    def _match(self, boxes: Sequence[Box]) -> dict[int, int]:
        """Open tracks of those boxes that continue one."""
        pairs = sorted(
            (-overlap(last.box, box), track, place)
            for track, last in self._open.items()
            for place, box in enumerate(boxes)
        )
        found: dict[int, int] = {}
        for negative, track, place in pairs:
            if -negative >= MIN_OVERLAP and place not in found and track not in found.values():
                found[place] = track
        return found


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two frames, as thumbnails (32, 32) uint8, look like two scenes."""
    return float(np.abs(before.astype(np.float32) - after).mean()) > CUT
