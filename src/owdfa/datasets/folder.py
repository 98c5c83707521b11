"""A folder of images: one folder a class, in it files and further folders at will.

``_unlabelled/`` and images directly in the root are images that nobody labelled. A class folder
that is called so in another spelling, or ``unknown``, is refused, since it is hardly a class.

What is an image is decided by its content, or by a name such as ``x.png``: then it must be one.
Everything else is passed over, with the reason: documents, hidden things, and what systems leave
in folders, such as a NAS's thumbnails. Links to folders are followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from owdfa.datasets.base import ImageEntry, composed, root_path
from owdfa.errors import UserError
from owdfa.images.formats import why_no_image

DESCRIPTION = "one folder a class; _unlabelled/ holds images that nobody labelled"
UNLABELLED_FOLDER = "_unlabelled"
PROTOCOL: str | None = None
FACES = "dlib"

_NO_CLASS = frozenset({"unlabelled", "unlabeled", "unknown"})
_LITTER = {  # what some systems leave in folders, in lower case
    **dict.fromkeys(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"), "a system's own file"),
    **dict.fromkeys(("@eadir", "@synoresource", "__macosx", "@tmp"), "a system's own folder"),
    **dict.fromkeys(
        ("$recycle.bin", "#recycle", "@recycle", "recycler", ".trash"), "deleted files"
    ),
    **dict.fromkeys(
        ("system volume information", "lost+found", "#snapshot", "@recently-snapshot"),
        "a system's own folder",
    ),
    "__pycache__": "a program's own folder",
}


class FoundFile(NamedTuple):
    """A file below a folder, or a folder that is passed over as a whole."""

    path: Path
    passed_over: str | None  # why it is no image; None when it is, or should be, one


class _Names(NamedTuple):
    """What lies in a folder, each sorted."""

    folders: list[str]
    files: list[str]
    litter: list[str]


def read(root: str) -> Iterator[ImageEntry]:
    """List the images below ``root``.

    Raises:
        UserError: There is no such folder, it cannot be listed, a class folder holds no image or
            has a name that is none of a class, or links go in a circle.
    """
    folder = root_path(root)
    names = _names(folder)
    for found in (*_litter(folder, names), *_files(folder, names)):
        name = found.path.name
        yield ImageEntry(name, found.path, None, None, None, name, found.passed_over)
    for name in names.folders:
        yield from _read_class(folder / name)


def class_folders(root: Path) -> list[Path]:
    """The folders in ``root``, sorted, without hidden ones and what systems leave there.

    Raises:
        UserError: It cannot be listed.
    """
    return [root / name for name in _names(root).folders]


def files_below(folder: Path) -> Iterator[FoundFile]:
    """Every file below ``folder``, in order, links to folders followed.

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
        names = _names(current)
        yield from _litter(current, names)
        yield from _files(current, names)
        inner = above | {real}
        pending += [(current / name, inner) for name in reversed(names.folders)]


def _names(folder: Path) -> _Names:
    """What a folder holds."""
    names = _Names([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _LITTER:
                    names.litter.append(entry.name)
                else:
                    names[not _is_folder(entry)].append(entry.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{folder}: cannot be listed ({reason}); name a folder of images") from None
    for kind in names:
        kind.sort()
    return names


def _litter(folder: Path, names: _Names) -> Iterator[FoundFile]:
    return (FoundFile(folder / name, _LITTER.get(name.lower(), "hidden")) for name in names.litter)


def _files(folder: Path, names: _Names) -> Iterator[FoundFile]:
    for name in names.files:
        path = folder / name
        yield FoundFile(path, why_no_image(path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; only a link costs a look at the disk."""
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _read_class(folder: Path) -> Iterator[ImageEntry]:
    """List one class folder."""
    class_ = _class_of(folder)
    empty = True
    above = len(str(folder.parent / "_")) - 1  # what comes before the path below the root
    for path, passed_over in files_below(folder):
        identity = str(path)[above:]
        yield ImageEntry(identity, path, class_, None, None, identity, passed_over)
        empty = empty and passed_over is not None
    if empty:
        raise UserError(f"{folder}: a class folder without images; put some in or remove it")


def _class_of(folder: Path) -> str | None:
    """The class that a folder is named after; None for the one of unlabelled images.

    Raises:
        UserError: The name is none of a class.
    """
    name = folder.name
    if name == UNLABELLED_FOLDER:
        return None
    if name.lower().strip("_- ") in _NO_CLASS:
        raise UserError(
            f"{folder}: no class is called so; did you mean {UNLABELLED_FOLDER!r}? Rename it to"
            " that if nobody labelled its images, otherwise to the name of their class"
        )
    if name.startswith("_"):
        raise UserError(
            f"{folder}: a class's name may not begin with '_'; rename it, to {UNLABELLED_FOLDER} if"
            " nobody labelled its images"
        )
    return composed(name)
