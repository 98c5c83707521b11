"""Paint, brushes and the coordinates of a head: what faces are drawn with."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owdfa.datasets.lab.people import Colour, Person

Plane = NDArray[np.floating]  # (H, W) float32


@dataclass(frozen=True)
class Head:
    """Where the head is, for every pixel; what a forgery needs to find the face."""

    u: Plane
    v: Plane
    x: Plane
    y: Plane
    outline: Plane  # distance outside the face's outline, about; negative within
    front: Plane  # 1 where the surface faces the viewer, 0 behind the horizon
    light: Plane  # that falls on the surface; 1 is full
    pixel: float  # width of a pixel in the units of u and v


class Canvas:
    """Pixels (3, H, W) that paint is laid on."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def lay(self, colour: np.ndarray | tuple[float, ...], alpha: Plane) -> None:
        """Lay paint of one colour (3) or of a colour a pixel (3, H, W) with opacity ``alpha``."""
        paint = np.asarray(colour, np.float32)
        paint = paint.reshape(3, 1, 1) if paint.ndim == 1 else paint
        self.pixels += alpha * (paint - self.pixels)

    def shade(self, factor: Plane) -> None:
        """Multiply the light."""
        self.pixels *= factor

    def within(self, head: Head, near: np.ndarray) -> tuple["Canvas", Head]:
        """The smallest rectangle that holds the pixels ``near``; paint on it is paint on this."""
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if rows.size == 0:
            rows = columns = np.zeros(1, np.intp)
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        part = replace(
            head,
            u=head.u[box],
            v=head.v[box],
            x=head.x[box],
            y=head.y[box],
            outline=head.outline[box],
            front=head.front[box],
            light=head.light[box],
        )
        return Canvas(self.pixels[(slice(None), *box)]), part


def edge(distance: Plane, softness: float) -> Plane:
    """1 where ``distance`` is negative, 0 where it is positive, and a slope ``softness`` wide."""
    return unit(0.5 - distance / softness)


def step(value: Plane, low: float, high: float) -> Plane:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = unit((value - low) / (high - low))
    return t * t * (3.0 - 2.0 * t)


def bump(x: Plane, y: Plane, radius: float) -> Plane:
    """A Gaussian hill of height 1."""
    hill: Plane = np.exp((x * x + y * y) * (-0.5 / radius**2))
    return hill


def unit(value: Plane) -> Plane:
    """Clip to [0, 1]; on small images ``np.clip`` takes longer to start than to clip."""
    clipped: Plane = np.minimum(np.maximum(value, 0.0), 1.0)
    return clipped


def tone(colour: Colour, factor: Plane) -> NDArray[np.floating]:
    """A colour, lighter and darker from pixel to pixel: (3, H, W)."""
    return colour.reshape(3, 1, 1) * factor


def texture(person: Person, x: Plane, y: Plane) -> Plane:
    """The person's noise at a position, 8 cells to a unit; bilinear, repeating."""
    side = person.texture.shape[0]
    across, down = x * 8.0, y * 8.0
    left, top = np.floor(across), np.floor(down)
    fx, fy = across - left, down - top
    columns, rows = left.astype(np.intp), top.astype(np.intp)
    columns, right = columns & (side - 1), (columns + 1) & (side - 1)
    rows, below = (rows & (side - 1)) * side, ((rows + 1) & (side - 1)) * side
    flat = person.texture.ravel()
    upper, lower = flat.take(rows + columns), flat.take(below + columns)
    upper += fx * (flat.take(rows + right) - upper)
    lower += fx * (flat.take(below + right) - lower)
    mixed: Plane = upper + fy * (lower - upper)
    return mixed
