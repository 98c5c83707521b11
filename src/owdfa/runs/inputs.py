"""Which images a command means: a folder, files, or a role of a split; and their crops."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.catalog import nearest
from owdfa.datasets.folder import list_images
from owdfa.errors import UserError
from owdfa.images.decode import BadImageError
from owdfa.images.faces import check_faces, crop_pixels
from owdfa.records.split import ROLES, Split
from owdfa.runs.predictor import Predictor

_PREFIX = "split:"


class Crops(NamedTuple):
    """What a network is given of some images."""

    pixels: np.ndarray  # (B, S, S, 3) uint8, of those that can be used
    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    errors: dict[int, str]  # position -> why it cannot be used


class Inputs(NamedTuple):
    """Images to predict."""

    name: str  # for the record
    ids: list[str]  # sorted
    read: Callable[[range], Crops]  # crops of the images at these positions; from any thread
    split_digest: str | None
    passed_over: Sequence[tuple[str, str]] = ()  # path and reason of what is no image


def find_images(
    predictor: Predictor, images: str | Path | Sequence[Path], split: Path | None
) -> Inputs:
    """Find images, and say how their crops are made.

    Args:
        predictor: What they are for.
        images: ``"split:test"`` or another role of a split, a folder of images, or files.
        split: Folder of the split for ``"split:..."``; None for the one it was trained on.

    Raises:
        UserError: There are none, or they do not belong to the run.
    """
    if isinstance(images, str) and images.startswith(_PREFIX):
        return _split_images(predictor, images.removeprefix(_PREFIX), split)
    name, files, passed_over = _named_files(images)
    ids = sorted(files)
    if not ids:
        others = f" ({len(passed_over)} other files)" if passed_over else ""
        raise UserError(f"{name}: no images there{others}; name a folder that holds some")
    check_faces(predictor.faces)
    paths = [files[id_] for id_ in ids]

    def read(positions: range) -> Crops:
        return _read_files(paths, positions, predictor.faces, predictor.store_size)

    return Inputs(name, ids, read, predictor.basis.split_digest, passed_over)


def _named_files(
    images: str | Path | Sequence[Path],
) -> tuple[str, dict[str, Path], list[tuple[str, str]]]:
    """What the images are called, each by its id, and what in their folder is none."""
    if not isinstance(images, str | Path):
        files = {_written(path): path for path in images}
        if len(files) < len(images):
            raise UserError(f"{len(images)} files: one of them is named twice; name each once")
        return f"{len(images)} files", files, []
    place = Path(images)
    if not place.is_dir():
        return str(images), {_written(place): place}, []
    found, passed_over = list_images(place)
    return str(images), {_written(path.relative_to(place)): path for path in found}, passed_over


def _read_files(paths: Sequence[Path], positions: range, faces: str, size: int) -> Crops:
    """Decode and crop files as ``prepare`` would: the numbers agree."""
    good, made, errors = [], [], {}
    for position in positions:
        try:
            made.append(crop_pixels(paths[position], faces, size))
            good.append(position)
        except BadImageError as error:
            errors[position] = error.reason
    pixels = np.stack(made) if made else np.zeros((0, size, size, 3), np.uint8)
    return Crops(pixels, np.array(good, dtype=np.int64), errors)


def _split_images(predictor: Predictor, role: str, folder: Path | None) -> Inputs:
    """The images of one role of a split."""
    if role not in ROLES:
        raise UserError(f"{_PREFIX}{role}: no such role{nearest(role, list(ROLES))}")
    place = folder or predictor.split
    if place is None:
        raise UserError(
            f"{predictor.place}: does not say where its split is; name one with --split"
        )
    split = Split.read(place, ("id", "role"))
    digest = split.digest()
    if predictor.basis.split_digest not in (None, digest):
        raise UserError(
            f"{place}: is not the split that {predictor.place} was trained on; its test images may"
            " be among those it learned from; train on this split, or name the other with --split"
        )
    ids = split.with_role(role)["id"].to_pylist()
    if not ids:
        raise UserError(f"{place}: holds no {role} images; split again")
    from owdfa.runs.run import open_store  # imports torch, which files do not need

    store = open_store(place, split, predictor.store)
    if (store.basis.faces, store.size) != (predictor.faces, predictor.store_size):
        raise UserError(
            f"{store.folder}: was prepared with faces {store.basis.faces} and size {store.size};"
            f" {predictor.place} takes {predictor.faces} and {predictor.store_size},"
            " prepare the images so"
        )
    crops = store.crops(store.rows(ids))

    def read(positions: range) -> Crops:
        pixels = crops[positions.start : positions.stop]
        return Crops(pixels, np.arange(positions.start, positions.stop), {})

    return Inputs(f"{_PREFIX}{role}", ids, read, digest)


def _written(path: Path) -> str:
    """A path as an id: bytes that are not UTF-8 are written out in hexadecimal."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
