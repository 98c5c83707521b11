"""A folder of images: one folder a class, in it files and further folders at will.

``_unlabelled/`` and files directly in the root are images that nobody labelled. Hidden files and
folders are passed over; every other file below a class folder counts as an image, and is listed
as a bad one if it is none. Links to folders are followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from owdfa.catalog import nearest
from owdfa.datasets.base import Listing
from owdfa.errors import UserError
from owdfa.images.formats import SUFFIXES

DESCRIPTION = "one folder a class; _unlabelled/ holds images that nobody labelled"
UNLABELLED_FOLDER = "_unlabelled"
PROTOCOL: str | None = None
FACES = "dlib"

_NO_IMAGES = frozenset({"Thumbs.db", "desktop.ini"})  # what some systems leave in every folder


def read(root: str) -> Iterator[Listing]:
    """List the images below ``root``.

    Raises:
        UserError: There is no such folder, it or a class folder holds no image, or links go in
            a circle.
    """
    folder = Path(root).absolute()
    for entry in visible(folder):
        if entry.is_dir():
            yield from _read_class(entry)
        elif entry.suffix.lower() in SUFFIXES:  # a data set's root also has a README and the like
            yield Listing(entry.name, entry, None, None, None, entry.name)


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden things.

    Raises:
        UserError: It cannot be listed.
    """
    return sorted(folder / name for names in _visible(folder) for name in names)


def files_below(folder: Path) -> Iterator[Path]:
    """Every visible file below ``folder``, in order, links to folders followed.

    Memory: the names in one folder, and the folders on the way down.

    Raises:
        UserError: A folder cannot be listed, or a link leads back to a folder that it lies in.
    """
    pending = [(folder, frozenset[Path]())]
    while pending:
        current, above = pending.pop()
        real = current.resolve()
        if real in above:
            raise UserError(f"{current}: leads back to {real}, in which it lies; remove the link")
        folders, files = _visible(current)
        for name in files:
            yield current / name
        inner = above | {real}
        pending += [(current / name, inner) for name in reversed(folders)]


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Names of folders and of files in a folder, each sorted, without hidden things."""
    names: tuple[list[str], list[str]] = ([], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name not in _NO_IMAGES:
                    names[not _is_folder(entry)].append(entry.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{folder}: cannot be listed ({reason}); name a folder of images") from None
    for kind in names:
        kind.sort()
    return names


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; only a link costs a look at the disk."""
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _read_class(folder: Path) -> Iterator[Listing]:
    """List one class folder."""
    name = folder.name
    if name.startswith("_") and name != UNLABELLED_FOLDER:
        hint = nearest(name, [UNLABELLED_FOLDER])
        raise UserError(f"{folder}: a class's name may not begin with '_'{hint}")
    class_ = None if name == UNLABELLED_FOLDER else name
    empty = True
    above = len(str(folder.parent / "_")) - 1  # what comes before the path below the root
    for path in files_below(folder):
        identity = str(path)[above:]
        yield Listing(identity, path, class_, None, None, identity)
        empty = False
    if empty:
        raise UserError(f"{folder}: a class folder without images; put some in or remove it")
