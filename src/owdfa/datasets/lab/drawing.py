"""Draw the benchmark into a folder, and list a drawn folder."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from owdfa.config import parse_settings
from owdfa.datasets.base import ImageEntry, root_path
from owdfa.datasets.lab.settings import (
    LabSettings,
    class_sizes,
    identity,
    parameter_seed,
    parse_class,
)
from owdfa.errors import UserError
from owdfa.files import read_json, write_json, writing_error
from owdfa.progress import OnProgress, no_progress

_SCHEMA = "owdfa/lab/1"
_NOTE = "lab.json"
_CHUNK = 32  # images that a worker draws between two reports


class _Image(NamedTuple):
    """An image that is to be drawn."""

    class_: str
    number: int  # within the class


def draw(
    folder: Path, settings: LabSettings, *, jobs: int = 0, on_progress: OnProgress = no_progress
) -> None:
    """Draw the synthetic benchmark: ``folder/<class>/<identity>_<index>.jpg`` and ``lab.json``.

    A folder that was drawn in part is completed: only missing images are drawn, and they do
    not depend on those that were there, on ``jobs`` or on the order.

    Args:
        folder: Where; new, empty, or started with the same settings.
        settings: What to draw.
        jobs: Number of processes; 0 for one a core. With more than one, the calling script needs
            ``if __name__ == "__main__":``, as for every use of processes in Python.
        on_progress: Called with (images there, images in all).

    Raises:
        UserError: The folder holds something else, was drawn with other settings, or is full.
    """
    _claim(folder, settings)
    images = list(_images(settings))
    missing = [image for image in images if not _is_drawn(_path(folder, settings, image))]
    done = len(images) - len(missing)
    on_progress(done, len(images))
    for drawn in _draw_all(folder, settings, missing, jobs or os.cpu_count() or 1):
        done += drawn
        on_progress(done, len(images))


def read(root: str) -> Iterator[ImageEntry]:
    """List a drawn folder; the group of an image is the identity, which classes share.

    Raises:
        UserError: Nothing was drawn there, or the drawing was not finished.
    """
    folder = root_path(root)
    if not (folder / _NOTE).exists():
        raise UserError(f"{folder}: has no {_NOTE}; draw it first: owdfa data draw {folder}")
    settings = _read_settings(folder)
    images = list(_images(settings))
    paths = [_path(folder, settings, image) for image in images]
    missing = [path for path in paths if not _is_drawn(path)]
    if missing:
        raise UserError(
            f"{missing[0]}: is missing, as are {len(missing) - 1} more; draw them with the settings"
            f" of {_NOTE}: owdfa data draw {folder}"
        )
    for image, path in zip(images, paths, strict=True):
        family, _ = parse_class(image.class_)
        person = f"{identity(settings, image.number):05d}"
        source = _source(settings, image)
        yield ImageEntry(f"{image.class_}/{path.name}", path, image.class_, family, source, person)


def _images(settings: LabSettings) -> Iterator[_Image]:
    """All images, class by class."""
    for class_, size in class_sizes(settings).items():
        yield from (_Image(class_, index) for index in range(size))


def _source(settings: LabSettings, image: _Image) -> str:
    """The parameter seed, where there are several; real images have it too, so that all divide."""
    if settings.parameter_seeds == 1:
        return "lab"
    return f"seed-{parameter_seed(settings, image.number)}"


def _path(folder: Path, settings: LabSettings, image: _Image) -> Path:
    """Path of an image."""
    person = identity(settings, image.number)
    return folder / image.class_ / f"{person:05d}_{image.number:06d}.jpg"


def _is_drawn(path: Path) -> bool:
    """Whether an image is there; after a power cut a file can be there and empty."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _claim(folder: Path, settings: LabSettings) -> None:
    """Write the note of a new folder, or compare that of an existing one."""
    if (folder / _NOTE).exists():
        _compare(folder, _read_settings(folder), settings)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise writing_error(folder, error) from error
    if occupied:
        raise UserError(f"{folder}: holds other files and no {_NOTE}; choose an empty folder")
    write_json(folder / _NOTE, {"schema": _SCHEMA, "settings": settings.model_dump(mode="json")})


def _compare(folder: Path, drawn: LabSettings, wanted: LabSettings) -> None:
    """Raise a ``UserError`` that names every setting in which the two differ."""
    old, new = drawn.model_dump(mode="json"), wanted.model_dump(mode="json")
    other = [
        f"{name} is {old[name]} there, not {new[name]}" for name in old if old[name] != new[name]
    ]
    if other:
        raise UserError(
            f"{folder}: was drawn with other settings ({'; '.join(other)}); choose another folder"
            " or the same settings"
        )


def _read_settings(folder: Path) -> LabSettings:
    """The settings that a folder was drawn with."""
    note = read_json(folder / _NOTE, what="the note of a drawn benchmark")
    if not isinstance(note, dict) or note.get("schema") != _SCHEMA:
        raise UserError(f"{folder / _NOTE}: is not of schema {_SCHEMA}; draw into another folder")
    return parse_settings(LabSettings, note["settings"], str(folder / _NOTE))


def _draw_all(
    folder: Path, settings: LabSettings, missing: list[_Image], jobs: int
) -> Iterator[int]:
    """Draw in chunks, in this process or in several; yield how many a chunk held."""
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    workers = min(jobs, len(chunks))
    if workers <= 1:
        yield from (_draw_chunk(folder, settings, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_draw_chunk, folder, settings, chunk) for chunk in chunks]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _draw_chunk(folder: Path, settings: LabSettings, chunk: list[_Image]) -> int:
    """Draw some images, each written whole or not at all; return how many."""
    from owdfa.datasets.lab.image import draw_image

    for image in chunk:
        path = _path(folder, settings, image)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(draw_image(settings, image.class_, image.number))
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise writing_error(path, error) from error
    return len(chunk)
