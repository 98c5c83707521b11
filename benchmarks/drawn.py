"""Manifests, splits and stores of many images without an image: rows drawn, pixels zero."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.files import table_writer
from owdfa.images.store import IDS, StoreBasis, write_notes
from owdfa.records.manifest import SCHEMA, Manifest, manifest_writer
from owdfa.records.predictions import SCHEMA as PREDICTIONS
from owdfa.records.predictions import PredictionBasis
from owdfa.records.split import Split

FRAMES = 100  # of a video
EMBEDDING = 16
BLOCK = 1 << 16


def names_of(num_images: int, num_classes: int) -> Iterator[str]:
    """Paths below the root, in order, of 63 characters: <class>/<video>/<frame>."""
    videos_per_class = -(-num_images // (FRAMES * num_classes))
    for image in range(num_images):
        video, frame = divmod(image, FRAMES)
        class_ = f"text-to-image-model-{video // videos_per_class:03d}"
        yield f"{class_}/portraits-video-{video:06d}/frame-{frame:06d}.png"


def draw_manifest(folder: Path, num_images: int, num_classes: int = 100) -> None:
    """Write ``images.parquet`` as ``scan`` would; every image is a group of its own."""
    names = names_of(num_images, num_classes)
    with manifest_writer(folder / "images.parquet", "folder:drawn") as write:
        while ids := list(islice(names, BLOCK)):
            size = len(ids)
            columns = {
                "id": ids,
                "path": [f"{folder}/{id_}" for id_ in ids],
                "class": [id_.split("/")[0] for id_ in ids],
                "family": pa.nulls(size, pa.string()),
                "source": pa.nulls(size, pa.string()),
                "group": ids,
                "width": np.full(size, 256, np.int32),
                "height": np.full(size, 256, np.int32),
                "format": pa.repeat("PNG", size),
                "bytes": np.full(size, 50_000),
                "sha256": [hashlib.sha256(id_.encode()).hexdigest() for id_ in ids],
            }
            write(pa.record_batch([_column(columns, field, size) for field in SCHEMA], SCHEMA))


def draw_store(folder: Path, side: int) -> None:
    """Write ``store`` for ``images.parquet``: holes in a file, read as zeros, and real notes."""
    manifest = Manifest.read(folder / "images.parquet")
    rows = manifest.table
    store = folder / "store"
    store.mkdir()
    with (store / "pixels.bin").open("wb") as pixels:
        pixels.truncate(rows.num_rows * side * side * 3)
    write_notes(store, rows.select(IDS.names), StoreBasis(side, "none", "drawn"), {})
    Manifest(manifest.table, manifest.dataset, store).write(folder / "images.parquet")


def draw_predictions(folder: Path) -> None:
    """Predict the test images of ``split``, 80 % of them right."""
    made = Split.read(folder / "split", ("id", "role", "class"))
    names = [*made.known, *made.novel]
    known = len(made.known)
    note = PredictionBasis(
        "run", "split:test", "cal", names, known, made.digest(), "last", "", 0, ""
    )
    generator = np.random.default_rng(0)
    with table_writer(folder / "predictions.parquet", PREDICTIONS, note._asdict()) as write:
        for batch in made.with_role("test").to_batches(max_chunksize=BLOCK):
            true = np.asarray(pc.index_in(batch["class"], pa.array(names)))
            other = generator.integers(0, len(names), len(true))
            index = np.where(generator.random(len(true)) < 0.8, true, other).astype(np.int32)
            columns = {
                "id": batch["id"],
                "prediction": pa.array(names).take(pa.array(index)),
                "index": index,
                "confidence": generator.random(len(true), dtype=np.float32),
                "novel": index >= known,
                "top_index": lists(index[:, None]),
                "top_probability": lists(generator.random((len(true), 1), dtype=np.float32)),
                "embedding": lists(generator.random((len(true), EMBEDDING), dtype=np.float32)),
            }
            write(pa.record_batch(columns, schema=PREDICTIONS))


def lists(rows: np.ndarray) -> pa.Array:
    """A matrix as one list a row."""
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


def _column(columns: dict[str, object], field: pa.Field, size: int) -> pa.Array:
    """A column of the manifest; null where nothing was drawn."""
    if field.name not in columns:
        return pa.nulls(size, field.type)
    return pa.array(columns[field.name], field.type)
