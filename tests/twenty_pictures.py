"""Twenty small pictures to prepare."""

import hashlib

import numpy as np
import pyarrow as pa
from PIL import Image

from owdfa.records.manifest import SCHEMA, Manifest

COUNT = 20  # three chunks


def make_manifest(folder):
    """Write twenty small pictures and their manifest, which is not in order of id."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        path = folder / f"{i:02}.png"
        coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((12, 10)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        row = {"id": path.name, "path": str(path), "class": "real", "group": path.name}
        rows.append(row | {"sha256": digest})
    rows.append({"id": "99.png", "path": "nowhere", "group": "x", "error": "was bad already"})
    table = pa.Table.from_pylist(rows[::-1], schema=SCHEMA)
    Manifest(table, "folder:test").write(folder / "images.parquet")
    return folder / "images.parquet"


def contents(folder):
    """Every file of a folder, to the byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spoil(manifest, name):
    (manifest.parent / name).write_bytes(b"something else")
