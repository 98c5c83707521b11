"""Who is drawn, and how they are seen: the parameters of a person and of one frame of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.floating]  # (3,) float32, red, green, blue in [0, 1]

_SKIN = np.array(
    [
        [0.96, 0.82, 0.73],
        [0.90, 0.72, 0.60],
        [0.80, 0.60, 0.46],
        [0.62, 0.43, 0.31],
        [0.42, 0.28, 0.2],
    ]
)
_HAIR = np.array(
    [
        [0.09, 0.07, 0.06],
        [0.23, 0.15, 0.10],
        [0.42, 0.27, 0.16],
        [0.74, 0.58, 0.35],
        [0.55, 0.53, 0.52],
    ]
)
_IRIS = np.array([[0.25, 0.15, 0.08], [0.36, 0.26, 0.12], [0.30, 0.38, 0.24], [0.30, 0.42, 0.55]])


@dataclass(frozen=True)
class Person:
    """What stays the same in every frame of one identity. Lengths are in half face heights."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    cloth: Colour
    wall: tuple[Colour, Colour]
    furniture: np.ndarray  # (K, 8) float: x, y, half width, half height, softness, colour
    texture: NDArray[np.floating]  # (64, 64) float32, smooth noise of skin and hair in [-1, 1]
    width: float
    jaw: float
    hairline: float
    hair_length: float
    hair_volume: float
    parting: float
    eye_distance: float
    eye_size: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    lip_fullness: float
    beard: float
    freckles: float
    glasses: bool
    neck: float


@dataclass(frozen=True)
class Frame:
    """What differs between frames of one person. Angles are in radians."""

    centre: tuple[float, float]  # of the head in the image, whose sides are -1 and 1
    scale: float  # half face height over half image height
    roll: float
    yaw: float
    pitch: float
    smile: float
    mouth_open: float
    eyes_open: float
    brow_raise: float
    gaze: tuple[float, float]
    light: tuple[float, float, float]  # direction towards the light, length 1
    ambient: float
    exposure: float
    tint: Colour
    pan: tuple[float, float]  # of the background


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person from the population, which is the same for every class."""
    skin = _between(_SKIN, rng)
    red = np.array([0.72, 0.36, 0.34])
    hair = _between(_HAIR, rng)
    return Person(
        skin=skin,
        hair=hair,
        iris=_between(_IRIS, rng),
        lips=_colour(0.55 * skin + 0.45 * red * (0.6 + 0.4 * float(skin.mean()))),
        cloth=_colour(rng.uniform(0.1, 0.85, 3) * 0.7 + rng.uniform(0.05, 0.25)),
        wall=(_backdrop(rng), _backdrop(rng)),
        furniture=_draw_furniture(rng),
        texture=_draw_texture(rng),
        width=rng.uniform(0.70, 0.80),
        jaw=rng.uniform(0.10, 0.30),
        hairline=rng.uniform(-0.66, -0.46),
        hair_length=float(rng.choice([0.0, 0.1, 0.5, 1.1])) + rng.uniform(0.0, 0.15),
        hair_volume=rng.uniform(0.08, 0.22),
        parting=rng.uniform(-0.5, 0.5),
        eye_distance=rng.uniform(0.29, 0.34),
        eye_size=rng.uniform(0.125, 0.155),
        eye_height=rng.uniform(-0.06, 0.04),
        eye_tilt=rng.uniform(-0.12, 0.16),
        brow_height=rng.uniform(0.17, 0.23),
        brow_weight=rng.uniform(0.02, 0.045),
        nose_length=rng.uniform(0.34, 0.42),
        nose_width=rng.uniform(0.11, 0.16),
        mouth_width=rng.uniform(0.22, 0.30),
        mouth_height=rng.uniform(0.55, 0.62),
        lip_fullness=rng.uniform(0.045, 0.09),
        beard=float(rng.random() < 0.25) * rng.uniform(0.25, 0.7),
        freckles=float(rng.random() < 0.3) * rng.uniform(0.3, 1.0),
        glasses=bool(rng.random() < 0.15),
        neck=rng.uniform(0.38, 0.50),
    )


def draw_frame(rng: np.random.Generator) -> Frame:
    """Draw pose, expression, light and framing."""
    direction = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.1), rng.uniform(0.6, 1.2)])
    direction /= np.sqrt((direction**2).sum())
    warmth = rng.uniform(-0.07, 0.07)
    return Frame(
        centre=(rng.normal(0.0, 0.05), rng.normal(0.0, 0.04)),
        scale=rng.uniform(0.64, 0.76),
        roll=rng.normal(0.0, 0.09),
        yaw=float(np.clip(rng.normal(0.0, 0.28), -0.65, 0.65)),
        pitch=float(np.clip(rng.normal(0.0, 0.12), -0.3, 0.3)),
        smile=rng.uniform(-0.35, 1.0),
        mouth_open=_open(rng),
        eyes_open=rng.uniform(0.6, 1.1),
        brow_raise=rng.uniform(-0.03, 0.06),
        gaze=(rng.normal(0.0, 0.2), rng.normal(0.0, 0.1)),
        light=(float(direction[0]), float(direction[1]), float(direction[2])),
        ambient=rng.uniform(0.45, 0.75),
        exposure=rng.uniform(0.95, 1.2),
        tint=np.array([1.0 + warmth, 1.0 + rng.uniform(-0.015, 0.015), 1.0 - warmth], np.float32),
        pan=(rng.normal(0.0, 0.06), rng.normal(0.0, 0.06)),
    )


def _between(palette: np.ndarray, rng: np.random.Generator) -> Colour:
    """A colour between two neighbours of a palette, and a little lighter, darker or warmer."""
    position = rng.uniform(0.0, len(palette) - 1.0)
    low = int(position)
    mixed = palette[low] + (position - low) * (palette[low + 1] - palette[low])
    return _colour(mixed * rng.uniform(0.9, 1.1) * (1.0 + rng.normal(0.0, 0.025, 3)))


def _open(rng: np.random.Generator) -> float:
    """How far the mouth is open: closed half the time."""
    opening = rng.uniform(-0.06, 0.15)
    return opening if opening > 0.04 else 0.0


def _backdrop(rng: np.random.Generator) -> Colour:
    """A muted colour."""
    return _colour(rng.uniform(0.15, 0.8) + rng.normal(0.0, 0.07, 3))


def _colour(values: np.ndarray) -> Colour:
    """Within the range that can be shown."""
    return np.asarray(np.clip(values, 0.02, 0.98), np.float32)


def _draw_furniture(rng: np.random.Generator) -> np.ndarray:
    """Blurred rectangles of the background: (K, 8)."""
    count = int(rng.integers(2, 6))
    centre = rng.uniform(-1.1, 1.1, (count, 2))
    extent = rng.uniform(0.08, 0.6, (count, 2))
    softness = rng.uniform(0.02, 0.2, (count, 1))
    colour = np.clip(rng.uniform(0.1, 0.9, (count, 1)) + rng.normal(0.0, 0.08, (count, 3)), 0, 1)
    return np.concatenate([centre, extent, softness, colour], axis=1)


def _draw_texture(rng: np.random.Generator) -> np.ndarray:
    """Noise of two scales: (64, 64) float32 with standard deviation near 0.5."""
    fine = rng.standard_normal((64, 64), dtype=np.float32)
    coarse = np.kron(rng.standard_normal((16, 16), dtype=np.float32), np.ones((4, 4), np.float32))
    return np.asarray(0.35 * fine + 0.35 * coarse, dtype=np.float32)
