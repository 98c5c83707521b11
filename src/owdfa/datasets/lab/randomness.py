"""Random numbers that depend on what is drawn and on nothing that was drawn before it."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are for; the values are part of every image's seed: never renumber."""

    PERSON = 0
    CAMERA = 1
    METHOD = 2
    IMAGE = 3
    SIZES = 4


def generator(seed: int, stream: Stream, *numbers: int) -> np.random.Generator:
    """The generator of one thing, e.g. of person 7: ``generator(seed, Stream.PERSON, 7)``."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, stream, *numbers))))


def generators(count: int, seed: int, *numbers: int) -> list[np.random.Generator]:
    """``count`` generators of one image: more numbers from one change nothing in the others."""
    children = np.random.SeedSequence((seed, Stream.IMAGE, *numbers)).spawn(count)
    return [np.random.Generator(np.random.PCG64(child)) for child in children]
