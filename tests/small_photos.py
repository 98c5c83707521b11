"""Photographs of a few pixels to scan, and what a scan says of them."""

from pathlib import Path

from PIL import Image

from owdfa.records.manifest import Manifest
from owdfa.stages.scan import ScanOptions

LENIENT = ScanOptions(max_bad=1000)


def image(path: Path, colour: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, colour).save(path)
    return path


def make_photos(folder: Path) -> Path:
    """Write two classes of three images, in two videos each."""
    root = folder / "photos"
    for number, name in enumerate(["a/v1/1", "a/v1/2", "a/v2/1", "b/v2/1", "b/v3/1", "b/v3/2"]):
        image(root / f"{name}.png", number)
    return root


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in manifest.table.to_pylist()}
