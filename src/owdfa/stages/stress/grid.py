"""The fixed grid of corruptions: a name, a function and its arguments for every level.

Levels go from mild to strong. The recipes of ``upload`` and ``screenshot`` are ours: platforms
publish no numbers and change them; what these share with them is the kind and the order of the
steps. An upload is resized, then saved as JPEG with chroma 4:2:0:

* ``mild``: to 3/4 of its size, quality 85, as sites that show large photographs do;
* ``messenger``: to half its size, quality 75;
* ``forwarded``: what the messenger sent, sent again: quality 75 at its size, then 70.

A screenshot is taken of the image shown smaller, darker and warmer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from owdfa.images import corruptions

NONE = "none"


@dataclass(frozen=True)
class Level:
    """One corruption of one strength.

    Attributes:
        corruption: The family, as in ``"jpeg"``.
        title: What a chart of the family is called.
        label: The strength within the family, for people.
        function: What is called, with the pixels first.
        parameters: Its other arguments.
        seeded: Whether it takes a seed too.
    """

    corruption: str
    title: str
    label: str
    function: Callable[..., np.ndarray]
    parameters: Mapping[str, Any]
    seeded: bool = False

    @property
    def name(self) -> str:
        """Unlike that of every other level; can be the name of a file."""
        return f"{self.corruption}-{self.label}" if self.label else self.corruption

    def apply(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Corrupt pixels (H, W, 3) uint8; the size may become smaller."""
        drawn = {"seed": seed} if self.seeded else {}
        return self.function(image, **self.parameters, **drawn)


def grid(*, quick: bool = False) -> tuple[Level, ...]:
    """All levels, the unchanged image first; ``quick`` takes every second one of each family."""
    step = 2 if quick else 1
    families = [family[::step] for family in _families()]
    unchanged = Level(NONE, "Unchanged", "", np.copy, {})
    return (unchanged, *(level for family in families for level in family))


def _families() -> list[list[Level]]:
    return [
        _family("jpeg", "JPEG, quality", corruptions.jpeg, "quality", _QUALITIES),
        _family("webp", "WebP, quality", corruptions.webp, "quality", (90, 75, 50, 30)),
        _family("resize", "Smaller and back, to the share", corruptions.down_up, "share",
                (0.9, 0.75, 0.5, 0.25)),
        _family("crop", "Centre crop, share of a side", corruptions.centre_crop, "share",
                (0.95, 0.9, 0.75, 0.5)),
        _family("blur", "Blur, pixels", corruptions.blur, "sigma", (0.5, 1.0, 2.0, 3.0)),
        _family("noise", "Noise, grey levels", corruptions.noise, "sigma", (2.0, 5.0, 10.0, 20.0),
                seeded=True),
        [
            Level("screenshot", "Screenshot", label, corruptions.screenshot, parameters)
            for label, parameters in _SCREENSHOTS.items()
        ],
        [
            Level("upload", "Upload", label, corruptions.upload, {"steps": steps})
            for label, steps in _UPLOADS.items()
        ],
    ]  # fmt: skip


_QUALITIES = (95, 90, 85, 80, 75, 60, 45, 30)
_SCREENSHOTS = {
    "mild": {"share": 0.9, "gamma": 1.05, "warmth": 0.01},
    "medium": {"share": 0.75, "gamma": 1.1, "warmth": 0.03},
    "strong": {"share": 0.5, "gamma": 1.2, "warmth": 0.06},
}
_UPLOADS = {
    "mild": ((0.75, 85),),
    "messenger": ((0.5, 75),),
    "forwarded": ((0.5, 75), (1.0, 75), (1.0, 70)),
}


def _family(
    name: str,
    title: str,
    function: Callable[..., np.ndarray],
    parameter: str,
    values: tuple[float, ...],
    *,
    seeded: bool = False,
) -> list[Level]:
    return [
        Level(name, title, f"{value:g}", function, {parameter: value}, seeded) for value in values
    ]
