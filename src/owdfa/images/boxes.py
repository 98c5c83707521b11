"""Boxes of faces."""

from typing import NamedTuple


class Box(NamedTuple):
    """A face in pixels of the upright image; it may reach beyond the edges."""

    left: int
    top: int
    right: int  # exclusive
    bottom: int  # exclusive
    score: float  # the detector's; larger is more confident


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, each of at least one pixel."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    common = max(width, 0) * max(height, 0)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> int:
    return max(box.right - box.left, 1) * max(box.bottom - box.top, 1)
