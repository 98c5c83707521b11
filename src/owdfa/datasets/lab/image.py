"""One image of the benchmark, as a function of the settings, its class and its number alone."""

from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any

from owdfa.datasets.lab import edit, generate, reenact, swap
from owdfa.datasets.lab.camera import Camera, draw_camera, encode
from owdfa.datasets.lab.decoder import draw_weights
from owdfa.datasets.lab.people import Person, draw_frame, draw_person
from owdfa.datasets.lab.randomness import Stream, generator, generators
from owdfa.datasets.lab.settings import (
    REAL,
    LabSettings,
    identity,
    parameter_seed,
    parse_class,
)
from owdfa.datasets.lab.shot import Shot

# The position is part of every image's seed: append, never reorder.
_FAMILIES: dict[str, ModuleType | None] = {
    REAL: None,
    "swap": swap,
    "reenact": reenact,
    "edit": edit,
    "generate": generate,
}


def draw_image(settings: LabSettings, class_: str, index: int) -> bytes:
    """Draw image ``index`` of a class: the bytes of a JPEG file."""
    family, number = parse_class(class_)
    code = list(_FAMILIES).index(family)
    frame, sensor, forger, encoder = generators(4, settings.seed, code, number, index)
    person, camera = _subject(settings.seed, identity(settings, index))
    shot = Shot(person, draw_frame(frame), camera, settings.size, sensor)
    module = _FAMILIES[family]
    if module is None:
        pixels = shot.photograph(shot.scene().pixels)
    else:
        method = _method(settings.seed, family, number, parameter_seed(settings, index))
        pixels = module.forge(shot, method, settings.trace_strength, forger)
    return encode(pixels, settings.jpeg_quality, encoder)


@lru_cache(maxsize=64)
def _subject(seed: int, number: int) -> tuple[Person, Camera]:
    """A person and the camera that films them."""
    return (
        draw_person(generator(seed, Stream.PERSON, number)),
        draw_camera(generator(seed, Stream.CAMERA, number)),
    )


@lru_cache(maxsize=512)
def _method(seed: int, family: str, number: int, copy: int) -> Any:
    """The parameters of one method of a family; copies from 2 on have other weights."""
    module = _FAMILIES[family]
    assert module is not None
    code = list(_FAMILIES).index(family)
    method = module.draw_method(generator(seed, Stream.METHOD, code, number))
    if copy == 1:
        return method
    weights = generator(seed, Stream.METHOD, code, number, copy)
    return replace(method, decoder=draw_weights(method.decoder, weights))
