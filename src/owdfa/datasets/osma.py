"""OSMA, the benchmark of POSE, as published: ``real/<data>/`` and ``fake/<generator>/<data>/``.

Classes have the benchmark's own names: a generator with the data, and where there are several the
seed, that it was trained with. Forgeries of a video of FaceForensics++ and the video itself are one
group, and so are the edits of one image.

Layout: ICTMCG/POSE @185b25d, its README, configs/data_list.yaml and the lists of all five splits;
the images are record 8103474 on Zenodo.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from owdfa import catalog
from owdfa.datasets.base import ImageEntry, root_path
from owdfa.datasets.folder import FoundFile, class_folders, files_below
from owdfa.errors import UserError

DESCRIPTION = "OSMA, the benchmark of POSE: real/ and fake/<generator>/<data>/"
PROTOCOL: str | None = "osma/p1"
FACES = "none"

_LSUN = re.compile(
    r"(ProGAN|MMDGAN|SNGAN|styleGAN[23]?)/"
    r"(airplane|bridge|bus|cat|church_outdoor|classroom|cow|kitchen|sheep)"
)
_VIDEOS = ("FF_c23_youtube", "youtube_c23")  # folders of FaceForensics++, a folder a video in each
_SEVERAL = "multiseed_"  # a folder that holds a folder a seed


class _Class(NamedTuple):
    name: str
    family: str
    image: re.Pattern[str] | None = None  # of the file's name: the image that was edited


def read(root: str) -> Iterator[ImageEntry]:
    """List the images below ``real/`` and ``fake/`` of ``root``; either may be missing.

    Raises:
        UserError: There is neither, or a folder below ``fake/`` is none of the benchmark.
    """
    top = root_path(root)
    names = [folder.name for folder in class_folders(top)]
    if "fake" not in names and "real" not in names:
        raise UserError(f"{root}: no fake/ or real/ there; name the folder OSMA that holds them")
    for folder in class_folders(top / "real") if "real" in names else ():
        yield from _read_class(top, folder, _Class("real", "real"))
    for generator in class_folders(top / "fake") if "fake" in names else ():
        for folder in class_folders(generator):
            several = folder.name.startswith(_SEVERAL)
            for data in class_folders(folder) if several else [folder]:
                yield from _read_class(top, data, _class(data, top))


def _read_class(top: Path, folder: Path, class_: _Class) -> Iterator[ImageEntry]:
    for found in files_below(folder):
        identity = found.path.relative_to(top).as_posix()
        group = _group(found, folder, class_) or identity
        row = (class_.name, class_.family, folder.name, group, found.passed_over)
        yield ImageEntry(identity, found.path, *row)


def _group(found: FoundFile, folder: Path, class_: _Class) -> str | None:
    """The video or the image that was forged; None where an image stands alone."""
    if folder.name in _VIDEOS:
        target = re.search(r"\d+", found.path.relative_to(folder).parts[0])
        return f"FaceForensics++/{target[0]}" if target else None
    if class_.image is None:
        return None
    image = class_.image.fullmatch(found.path.stem)
    return f"{class_.name}/{image[1]}" if image else None


def _class(folder: Path, top: Path) -> _Class:
    place = folder.relative_to(top / "fake").as_posix()
    if _LSUN.fullmatch(place):
        return _Class(place.replace("/", "_").lower(), "generate")
    found = _table().get(place)
    if found is None:
        raise UserError(
            f"{folder}: is no folder of OSMA, such as fake/ProGAN/cat or "
            "fake/FaceSwap/youtube_c23; move it away"
        )
    return found


@cache
def _table() -> dict[str, _Class]:
    """Classes by the folder below ``fake/``."""
    rows = tomllib.loads(catalog.text("protocols", "osma"))["class"]
    return {
        row["folder"]: _Class(
            row["name"], row["family"], re.compile(row["image"]) if "image" in row else None
        )
        for row in rows
    }
