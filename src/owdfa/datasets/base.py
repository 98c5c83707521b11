"""What an adapter hands over: one entry an image, as the data set's publisher labels it."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from owdfa.images.bad import PASSED_OVER


class ImageEntry(NamedTuple):
    """One image file of a data set, or a file there that is passed over.

    Every module of ``owdfa.datasets`` has ``read(root) -> Iterator[ImageEntry]``, a one-line
    ``DESCRIPTION``, the ``PROTOCOL`` to split it by, such as ``"lab/p1"`` or None, and ``FACES``,
    the detector that it asks for: ``"dlib"``, or ``"none"`` when its images are crops already.
    One that can be downloaded has ``DOWNLOAD`` and ``folders``, and ``check`` where it is known how
    many images there must be; one that can be drawn has ``draw``, one that is put together from
    other data sets ``build``. One whose publisher also assigns images to training and test has
    ``paper_roles(root, seed, training)``: the role of each id, used by ``split --rule paper``.
    An adapter lists files in any order; it never splits them or leaves classes out.
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
    passed_over: str | None = None
    """Why this is no image: it is listed and counted, and gets no row; None for an image."""


class FolderCount(NamedTuple):
    """How many images a folder of a published data set holds, and should."""

    folder: str
    num_images: int
    expected: int


def images_only(
    entries: Iterator[ImageEntry], passed_over: list[tuple[str, str]]
) -> Iterator[ImageEntry]:
    """The images among ``entries``; path and reason of what is none go to ``passed_over``."""
    for entry in entries:
        if entry.passed_over is None:
            yield entry
        else:
            passed_over.append((str(entry.path), f"{PASSED_OVER} ({entry.passed_over})"))


def root_path(root: str) -> Path:
    """A data set's root as an absolute path, with ``~`` for the home folder."""
    return Path(os.path.expanduser(root)).absolute()  # noqa: PTH111  Path's raises without a home


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): names that read alike are alike."""
    return unicodedata.normalize("NFC", name)
