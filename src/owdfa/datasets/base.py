"""What an adapter hands over: one listing an image, as the data set's publisher labels it."""

from pathlib import Path
from typing import NamedTuple


class Listing(NamedTuple):
    """One image file of a data set.

    Every module of ``owdfa.datasets`` has ``read(root) -> Iterator[Listing]``, a one-line
    ``DESCRIPTION``, the ``PROTOCOL`` to split it by, such as ``"lab/p1"`` or None, and ``FACES``,
    the detector that it asks for: ``"dlib"``, or ``"none"`` when its images are crops already.
    One that can be downloaded has ``DOWNLOAD`` and ``folders``, one that can be drawn ``draw``.
    An adapter lists files in any order; it never opens images, splits them or leaves classes out.
    """

    id: str
    """The path below the data set's root, with ``/``: the same on every machine."""
    path: Path
    """Where the file is on this machine."""
    class_: str | None
    """The class; None for an image that nobody labelled."""
    family: str | None
    """Kind of forgery, e.g. ``"swap"``; ``"real"`` for real images; None when unknown."""
    source: str | None
    """The collection that the image was taken from; None when unknown."""
    group: str
    """Video, identity or prompt: what a split may not cut; the id when each image stands alone."""
