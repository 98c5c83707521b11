"""JPEG files with faces, for benchmarks that read them: drawn by the built-in ``lab``, or your own.

dlib finds a face in most of the drawn ones at 512 px and above; what its search costs depends on
the number of pixels, not on whether it finds any.
"""

import shutil
import tempfile
from pathlib import Path

from PIL import Image

from owdfa.datasets.lab import LabSettings, draw
from owdfa.images.decode import SUFFIXES

_DRAWN = LabSettings(methods_per_family=1, images_per_method=1, real_images=8, size=1024, seed=1)
_TOY = LabSettings(methods_per_family=1, images_per_method=1, real_images=2, size=128, seed=1)


def photographs(folder: Path, side: int, count: int, own: Path | None = None) -> list[Path]:
    """Put ``count`` files into ``folder``; of few pictures that differ, the rest are copies.

    Args:
        folder: Made if it is missing; files that are there already are used again.
        side: Width and height of drawn pictures in pixels.
        count: Number of files.
        own: Folder of photographs to take instead, as they are.
    """
    made = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    if len(made) == count:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    sources = _own(own) if own else _resized(folder.with_name(f"drawn-{side}"), side)
    paths = []
    for i in range(count):
        source = sources[i % len(sources)]
        paths.append(folder / f"{i:04}{source.suffix}")
        shutil.copyfile(source, paths[-1])
    return paths


def _own(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder}: no images there")
    return found


def _resized(folder: Path, side: int) -> list[Path]:
    """Drawn pictures at ``side`` pixels."""
    settings = _DRAWN if side >= 512 else _TOY
    drawn = Path(tempfile.gettempdir()) / f"owdfa-lab-{settings.size}"
    if not drawn.exists():
        draw(drawn, settings)
    folder.mkdir(exist_ok=True)
    paths = []
    for path in sorted(drawn.rglob("*.jpg")):
        paths.append(folder / f"{path.parent.name}-{path.name}")
        picture = Image.open(path).convert("RGB")
        picture.resize((side, side), Image.Resampling.LANCZOS).save(paths[-1], quality=90)
    return paths
