"""What is drawn: the settings of the synthetic benchmark and the classes that follow from them."""

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from owdfa.config import Settings
from owdfa.datasets.lab.randomness import Stream, generator

REAL = "real"
FAMILIES = ("swap", "reenact", "edit", "generate")

_Quality = Annotated[int, Field(ge=30, le=100)]


class LabSettings(Settings):
    """Settings of the synthetic benchmark; the same settings give the same files."""

    methods_per_family: int = Field(default=3, ge=1, le=99)
    images_per_method: int = Field(default=300, ge=1)
    """Images of the largest forged class."""
    real_images: int = Field(default=600, ge=1)
    size: int = Field(default=80, ge=32, le=2048)
    """Width and height of every image in pixels."""
    jpeg_quality: tuple[_Quality, _Quality] = (80, 98)
    """Least and greatest quality; every image, real or forged, draws its own from this range."""
    trace_strength: float = Field(default=1.0, ge=0.0, le=10.0)
    """Scales how far a method's traces are from none; 1 is hardly visible by eye."""
    imbalance: float = Field(default=1.0, gt=0.0, le=1.0)
    """Smallest forged class over the largest; sizes between them fall geometrically."""
    frames_per_identity: int = Field(default=10, ge=1)
    """Images that show one person in one class."""
    parameter_seeds: int = Field(default=1, ge=1, le=9)
    """Copies of each method: one architecture, trained from as many seeds; the source says which
    one made an image."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _quality_in_order(self) -> "LabSettings":
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality: the least comes first, e.g. [80, 98]")
        return self


def class_names(settings: LabSettings) -> list[str]:
    """``real``, then ``swap-1``, ``swap-2``, ... family by family."""
    numbers = range(1, settings.methods_per_family + 1)
    return [REAL, *(f"{family}-{number}" for family in FAMILIES for number in numbers)]


def class_sizes(settings: LabSettings) -> dict[str, int]:
    """Number of images of every class.

    Forged classes fall geometrically from ``images_per_method`` to ``imbalance`` times that, at
    least one image each; the seed decides the order of the classes.
    """
    real, *forged = class_names(settings)
    order = generator(settings.seed, Stream.SIZES).permutation(len(forged))
    steps = max(len(forged) - 1, 1)
    share = np.power(settings.imbalance, order / steps)
    sizes = np.maximum(np.rint(settings.images_per_method * share).astype(int), 1)
    return {real: settings.real_images, **dict(zip(forged, sizes.tolist(), strict=True))}


def parse_class(name: str) -> tuple[str, int]:
    """``("swap", 2)`` of ``"swap-2"``; ``("real", 0)`` of ``"real"``."""
    family, _, number = name.partition("-")
    return family, int(number or 0)


def identity(settings: LabSettings, index: int) -> int:
    """The person whom image ``index`` of any class shows; classes share their people."""
    return index // settings.frames_per_identity


def parameter_seed(settings: LabSettings, index: int) -> int:
    """Which copy of its method makes image ``index`` of any class, from 1; one copy a person."""
    return identity(settings, index) % settings.parameter_seeds + 1
