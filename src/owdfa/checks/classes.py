"""The classes of a manifest: how large they are, and signs that a folder is none.

Each sign is one line that names the classes concerned and the option or the rename that fixes it.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.protocols import natural_sort
from owdfa.records.rows import codes

COLUMNS = ("id", "class", "group")
_PARTS = {"train", "training", "test", "testing", "dev", "val", "valid", "validation", "eval"}
"""Names of the parts of a data set that its publisher has split."""
_MIN_FOLDERS = 2  # below the classes
_MIN_FRAMES = 3  # images of a folder, on average, that may be a video


class ClassSize(NamedTuple):
    """How many images a class has."""

    name: str | None  # None: images that nobody labelled
    num_images: int
    num_groups: int


def class_sizes(table: pa.Table) -> list[ClassSize]:
    """Count images and groups of each class, in natural order; those without a class come last.

    Args:
        table: ``COLUMNS`` of the usable images.
    """
    groups = codes(pc.coalesce(table["group"], table["id"]))
    counted = (
        pa.table({"class": table["class"], "group": groups})
        .group_by("class")
        .aggregate([("group", "count"), ("group", "count_distinct")])
    )
    sizes = {row["class"]: row for row in counted.to_pylist()}
    order: list[str | None] = list(natural_sort([name for name in sizes if name is not None]))
    order += [None] if None in sizes else []
    return [
        ClassSize(name, sizes[name]["group_count"], sizes[name]["group_count_distinct"])
        for name in order
    ]


def doubtful_classes(table: pa.Table) -> list[str]:
    """Signs that the classes are not what was meant, one line each.

    Args:
        table: ``COLUMNS`` of the usable images.
    """
    names = pc.unique(table["class"]).drop_null().to_pylist()
    below = _folders_below(table)
    checks: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _named_alike(names),
        lambda: _named_like_parts(below),
        lambda: _videos(table, below),
    )
    return [line for check in checks for line in check()]


class _Folder(NamedTuple):
    """A folder that holds images, below the folder of a class."""

    class_: str
    parts: tuple[str, ...]  # names of the folders from the class down to it
    num_images: int


def _folders_below(table: pa.Table) -> list[_Folder]:
    """Folders of images whose ids begin with their class, as those of ``folder:`` do."""
    folders = pc.replace_substring_regex(table["id"], r"/?[^/]*$", "")
    pairs = pa.table({"class": table["class"], "folder": folders})
    counted = pairs.group_by(["class", "folder"]).aggregate([([], "count_all")])
    return [
        _Folder(row["class"], tuple(row["folder"].split("/")[1:]), row["count_all"])
        for row in counted.to_pylist()
        if row["class"] is not None and row["folder"].split("/")[0] == row["class"]
    ]


def _named_alike(names: list[str]) -> Iterator[str]:
    """Classes whose names differ in case or Unicode form alone."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            yield (
                f"classes {_listed(same)} differ only in case, spaces or Unicode form; give them "
                "one name if they are one class"
            )


def _named_like_parts(below: list[_Folder]) -> Iterator[str]:
    """Classes that are named like the parts of a split and hold the same folders."""
    inside: dict[str, set[str]] = {}
    for folder in below:
        if folder.class_.casefold() in _PARTS and folder.parts:
            inside.setdefault(folder.class_, set()).add(folder.parts[0])
    shared = Counter(name for names in inside.values() for name in names)
    same = sorted(name for name, number in shared.items() if number > 1)
    if same:
        parts = sorted(inside)
        yield (
            f"classes {_listed(parts)} are named like parts of a split and hold the same folders "
            f"({', '.join(same[:4])}); scan one of them, folder:.../{parts[-1]}, or move their "
            "folders together, one a class"
        )


def _videos(table: pa.Table, below: list[_Folder]) -> Iterator[str]:
    """Folders below the classes that hold many images each, where no image has a group."""
    alone = pc.equal(pc.coalesce(table["group"], table["id"]), table["id"])
    deep = [folder for folder in below if folder.parts and folder.class_.casefold() not in _PARTS]
    num_images = sum(folder.num_images for folder in deep)
    if not pc.all(alone).as_py() or len(deep) < _MIN_FOLDERS:
        return
    if 2 * num_images < len(table) or num_images < _MIN_FRAMES * len(deep):
        return
    depth = int(np.min(pc.count_substring(table["id"], "/").to_numpy()))
    names = [{folder.parts[level] for folder in deep} for level in range(depth - 1)]
    option = "--group-regex '^[^/]+/([^/]+)'"
    if names:  # the level that tells most folders apart; below it may be "frames" in each
        level = max(range(len(names)), key=lambda level: len(names[level]))
        option = f"--group-level {level + 2}"
    yield (
        f"{len(deep)} folders below the classes hold {num_images} images and each image is a group "
        f"of its own; if these folders are videos, identities or prompts, scan with {option}, so "
        "that none is on both sides of a split"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(ascii(name) if not name.isascii() else repr(name) for name in names)
