"""OWDFA-40 as published: one folder a class, ``<index>_<Type>_<Method>``, 41 classes.

The paper's codes are the classes (REAL, S1, ..., G12); both folders of real faces are one class.
Folders may be missing; which classes are needed is for the protocol to say.

The frames of a video are a group where the files are named ``<video>_<frame>``, which is how
frames are named as a rule; how this data set names them is not documented. Where every file of a
folder begins alike, that is no video's name, and each image stands alone.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from owdfa import catalog
from owdfa.catalog import nearest
from owdfa.datasets.base import FolderCount, ImageEntry, root_path
from owdfa.datasets.folder import class_folders, files_below
from owdfa.errors import UserError
from owdfa.protocols import names_in, read_protocol

DESCRIPTION = "the published folders of OWDFA-40: 40 forgery methods and real faces"
PROTOCOL: str | None = "owdfa40/p1"
FACES = "none"
DOWNLOAD = "https://huggingface.co/datasets/hyzheng/OWDFA40-Benchmark/resolve/main"
"""Where the archives are published, one ``<folder>.zip`` for each of ``folders()``."""

_FRAME = re.compile(r"(.+)[_-]\d+\.[^.]+")  # <video>_<frame>.<suffix>


class _Class(NamedTuple):
    code: str
    family: str
    source: str


def folders() -> list[str]:
    """Names of the class folders, in the order of the class table."""
    return list(_table())


def read(root: str) -> Iterator[ImageEntry]:
    """List the images of the class folders in ``root``.

    Raises:
        UserError: There is no such folder, it holds no class folder, another one, or an empty one.
    """
    found = class_folders(root_path(root))
    if not found:
        raise UserError(f"{root}: no class folder there, such as {folders()[0]}; name their parent")
    for folder in found:
        if folder.name not in _table():
            hint = nearest(folder.name, folders())
            raise UserError(f"{folder}: is no class folder of OWDFA-40; move it away{hint}")
        yield from _read_class(folder)


def check(root: str) -> list[FolderCount]:
    """Count the images of every class folder: there, and as many as some protocol uses of it.

    A class is used with 2,000 images where it is known and 1,500 where it is novel, real faces with
    10,000 of each source; how many a folder was published with is not documented.

    Raises:
        UserError: There is no such folder, or a class folder cannot be listed.
    """
    top = root_path(root)
    there = {folder.name for folder in class_folders(top)}
    expected = _expected()
    counts = []
    for name in folders():
        found = files_below(top / name) if name in there else ()
        num_images = sum(each.passed_over is None for each in found)
        counts.append(FolderCount(name, num_images, expected[_table()[name].code]))
    return counts


def _expected() -> dict[str, int]:
    """How many images of a folder of each class the protocols use at most."""
    protocols = [read_protocol(name) for name in names_in("owdfa40")]
    most: dict[str, int] = {}
    for protocol in protocols:
        budget = protocol.budget
        used = dict.fromkeys(protocol.novel, budget.novel) | dict.fromkeys(
            protocol.known, budget.known
        )
        for code, number in used.items():
            most[code] = max(most.get(code, 0), number or 0)
    return most | {"REAL": protocols[0].budget.real_per_source or 0}


def _read_class(folder: Path) -> Iterator[ImageEntry]:
    """List one class folder."""
    class_ = _table()[folder.name]
    found = list(files_below(folder))
    videos = {each.path: _video(each.path) for each in found if each.passed_over is None}
    if not videos:
        raise UserError(f"{folder}: a class folder without images; unpack it again or remove it")
    grouped = len(set(videos.values())) > 1
    for path, passed_over in found:
        named = videos.get(path, path) if grouped else path
        identity, group = (each.relative_to(folder.parent).as_posix() for each in (path, named))
        row = (class_.code, class_.family, class_.source, group, passed_over)
        yield ImageEntry(identity, path, *row)


def _video(path: Path) -> Path:
    """The path up to the number of the frame; the path itself where there is none."""
    found = _FRAME.fullmatch(path.name)
    return path.with_name(found[1]) if found else path


@cache
def _table() -> dict[str, _Class]:
    """Classes by the name of their folder."""
    table = tomllib.loads(catalog.text("protocols", "owdfa40"))["class"]
    return {
        folder: _Class(row["code"], row["family"], source)
        for row in table
        for folder, source in zip(row["folders"], row["sources"], strict=True)
    }
