"""What a forger starts from: a person before a camera, in one frame."""

from dataclasses import dataclass

import numpy as np

from owdfa.datasets.lab.camera import Camera, photograph
from owdfa.datasets.lab.canvas import Plane
from owdfa.datasets.lab.faces import Scene, draw_scene
from owdfa.datasets.lab.filters import Pixels
from owdfa.datasets.lab.people import Frame, Person


@dataclass(frozen=True)
class Shot:
    """One frame of a person, ready to be drawn and photographed.

    Attributes:
        person: Who is seen.
        frame: Their pose, expression and light.
        camera: What films them.
        size: Width and height of the image in pixels.
        sensor: Gives the camera's noise; of this image alone.
    """

    person: Person
    frame: Frame
    camera: Camera
    size: int
    sensor: np.random.Generator

    def scene(self, person: Person | None = None, frame: Frame | None = None) -> Scene:
        """Draw it, or another person, or the same one in another frame."""
        return draw_scene(person or self.person, frame or self.frame, self.size)

    def photograph(self, light: Pixels, camera: Camera | None = None) -> Pixels:
        """Take the picture, with another camera if one is given."""
        return photograph(light, camera or self.camera, self.sensor)


def blend(below: Pixels, above: Pixels, mask: Plane) -> Pixels:
    """Lay ``above`` over ``below`` with weight ``mask`` (H, W), between 0 and 1."""
    return below + mask * (above - below)


def soft_mask(distance: Plane, feather: float) -> Plane:
    """1 well within (negative distance), 0 without; ``feather`` is the width between, (H, W)."""
    t = np.clip(0.5 - distance / max(feather, 1e-3), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
