"""DF40 as published: a folder a method below ``DF40/`` (test) and ``DF40_train/``.

The root is the folder that holds these two, and for real faces ``FaceForensics++/`` and
``Celeb-DF-v2/``, or one of the two itself. Within a method lie ``ff/`` and ``cdf/``, the data that
the forgeries were made from, or ``fake/`` and ``real/``; then ``frames/`` or not, then a folder a
video or not. ``DF40_train/`` has ``ff`` alone and leaves that level out. Where ``dataset_json/`` of
the release lies in the root, only the frames that its files list are listed; one that is not there
is counted as passed over.

The group is the video that was forged: all forgeries of a video of FaceForensics++ or Celeb-DF are
one group, whatever the method.

Layout: YZY-stack/DF40 @ce80816, its README, rearrange.py and abstract_dataset.py, and its issues,
which tell of other spellings on disk; capitals do not matter here.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from owdfa import catalog
from owdfa.catalog import nearest
from owdfa.datasets.base import ImageEntry, root_path
from owdfa.datasets.folder import class_folders, files_below
from owdfa.errors import UserError

DESCRIPTION = "DF40's folders, a method each, or the frames that its JSON files list"
PROTOCOL: str | None = "df40/p1"
FACES = "none"

_FORGED = ("DF40", "DF40_train")
_REAL = {  # where real faces are, and of which source
    "FaceForensics++/original_sequences": "FaceForensics++",
    "Celeb-DF-v2/Celeb-real": "Celeb-DF",
    "Celeb-DF-v2/YouTube-real": "Celeb-DF",
}
_DOMAINS = {"ff": "FaceForensics++", "cdf": "Celeb-DF"}
_NO_VIDEO = {"ff", "cdf", "fake", "real", "frames", "inversions", "celeb-real", "youtube-real"}
_CELEB = re.compile(r"(id\d+)_id\d+_(\d+)")  # <target>_<source>_<video of the target>
_FFPP = re.compile(r"(\d+)_\d+")  # <target>_<source>


class _Method(NamedTuple):
    name: str
    family: str
    source: str  # of its images, where they lie in no ff/ and cdf/


def read(root: str) -> Iterator[ImageEntry]:
    """List the images of the methods and the real faces below ``root``.

    Raises:
        UserError: There is no such folder, it holds nothing of DF40, a folder that is no method, or
            a JSON file that lists no frames.
    """
    top = root_path(root)
    names = [folder.name for folder in class_folders(top)]
    if not names:
        raise UserError(f"{root}: no folder there; name the one that holds DF40/ or DF40_train/")
    lists = sorted((top / "dataset_json").glob("*.json"))
    if lists:
        yield from _listed(top, lists)
        return
    forged = [name for name in _FORGED if name in names]
    for part in forged or [""]:
        for folder in class_folders(top / part):
            yield from _below(top, folder)
    for place in (place for place in _REAL if (top / place).is_dir()):
        yield from _below(top, top / place)


def _below(top: Path, folder: Path) -> Iterator[ImageEntry]:
    for path, passed_over in files_below(folder):
        relative = PurePosixPath(path.relative_to(top).as_posix())
        yield _entry(top, relative, passed_over)


def _listed(top: Path, lists: list[Path]) -> Iterator[ImageEntry]:
    """The frames that the JSON files list, each once."""
    seen: set[str] = set()
    for file in lists:
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: is not JSON ({error}); fetch it again") from None
        frames = [_below_root(name, file) for name in _frames(content)]
        if not frames:
            raise UserError(f"{file}: lists no frames; take the files of DF40's dataset_json/")
        for name in frames:
            if name not in seen:
                seen.add(name)
                there = (top / name).is_file()
                reason = None if there else f"listed in {file.name}, not there"
                yield _entry(top, PurePosixPath(name), reason)


def _frames(node: Any) -> Iterator[str]:
    """Every path in a list named ``frames``, at whatever depth."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "frames" and isinstance(value, list):
            yield from map(str, value)
        else:
            yield from _frames(value)


def _below_root(written: str, file: Path) -> str:
    """A path of the authors' machine from ``DF40/`` and its like on."""
    parts = written.replace("\\", "/").split("/")
    roots = {*_FORGED, *(place.partition("/")[0] for place in _REAL)}
    first = next((place for place, part in enumerate(parts) if part in roots), None)
    if first is None or ".." in parts:
        raise UserError(f"{file}: {written!r} is below none of {', '.join(sorted(roots))}")
    return "/".join(parts[first:])


def _entry(top: Path, relative: PurePosixPath, passed_over: str | None) -> ImageEntry:
    """An image by its path below the root."""
    place = str(relative)
    source = next((name for start, name in _REAL.items() if place.startswith(f"{start}/")), None)
    class_, family = "real", "real"
    if source is None:
        parts = relative.parts[relative.parts[0] in _FORGED :]
        method = _method(parts[0], top)
        kind = parts[1].casefold() if len(parts) > 2 else ""
        source = _DOMAINS.get(kind) or method.source or "FaceForensics++"
        if kind != "real":
            class_, family = method.name, method.family
    group = _group(relative, source)
    return ImageEntry(place, top / place, class_, family, source, group, passed_over)


def _group(relative: PurePosixPath, source: str) -> str:
    """The video that was forged; the image's own path when it lies in no folder of a video."""
    video = relative.parent.name
    if video.casefold() in _NO_VIDEO | _methods().keys():
        return str(relative)
    if source not in _DOMAINS.values():
        return str(relative.parent)
    celeb, ffpp = _CELEB.fullmatch(video), _FFPP.fullmatch(video)
    if celeb:
        video = f"{celeb[1]}_{celeb[2]}"
    return f"{source}/{ffpp[1] if ffpp else video}"


def _method(folder: str, top: Path) -> _Method:
    found = _methods().get(folder.casefold())
    if found is None:
        names = sorted({method.name for method in _methods().values()})
        hint = nearest(folder, names)
        raise UserError(f"{top}: {folder!r} is no method's folder of DF40; move it away{hint}")
    return found


@cache
def _methods() -> dict[str, _Method]:
    """Methods by the names of their folders, in small letters."""
    rows = tomllib.loads(catalog.text("protocols", "df40"))["class"]
    return {
        folder.casefold(): _Method(row["name"], row["family"], row.get("source", ""))
        for row in rows
        for folder in (row["name"], *row.get("folders", ()))
    }
