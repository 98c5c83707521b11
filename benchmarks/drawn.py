"""Manifests, stores and splits of many images without an image: rows and pixels are drawn."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.images.store import IDS, StoreBasis, write_notes
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.stages.split import SplitOptions, split

_BLOCK = 1 << 12  # crops that differ


class Drawn(NamedTuple):
    """Where a drawn data set lies."""

    manifest: Path
    store: Path
    split: Path


def draw_data(
    folder: Path, *, num_images: int, num_classes: int, num_known: int, side: int, noise: bool
) -> Drawn:
    """Write manifest, store and split as the stages would; the classes have equal shares.

    Args:
        folder: Where.
        num_images: Rows, a group each.
        num_classes: Classes in all.
        num_known: The first so many are known.
        side: Of the crops, in pixels.
        noise: Whether pixels are random and on disk; otherwise a hole, read as zeros.
    """
    data = Drawn(folder / "images.parquet", folder / "store", folder / "split")
    names = [f"class-{number:04d}" for number in range(num_classes)]
    classes = np.sort(np.arange(num_images) % num_classes)
    ids = [f"{names[c]}/portraits-video/frame-{i:09d}.png" for i, c in enumerate(classes)]
    columns = {
        "id": pa.array(ids),
        "path": pa.array([f"{folder}/{id_}" for id_ in ids]),
        "class": pa.array(names).take(pa.array(classes)),
        "group": pa.array(ids),
        "sha256": pa.array([f"{i:064x}" for i in range(num_images)]),
    }
    rows = [columns.get(f.name, pa.nulls(num_images, f.type)) for f in SCHEMA]
    manifest = Manifest(pa.table(rows, schema=SCHEMA), "folder:drawn", data.store)
    manifest.write(data.manifest)
    data.store.mkdir()
    with (data.store / "pixels.bin").open("wb") as pixels:
        if noise:
            shape = (min(num_images, _BLOCK), side, side, 3)
            block = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            for first in range(0, num_images, _BLOCK):
                pixels.write(block[: num_images - first].data)
        pixels.truncate(num_images * side * side * 3)
    basis = StoreBasis(side, "none", "drawn")
    write_notes(data.store, manifest.table.select(IDS.names), basis, {})
    split(data.manifest, data.split, options=SplitOptions(known=tuple(names[:num_known])))
    return data
