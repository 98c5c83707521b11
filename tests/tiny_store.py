"""A store of random pixels, without any image files."""

import numpy as np
import pyarrow as pa

from owdfa.images.store import IDS, StoreBasis, write_notes

BASIS = StoreBasis(size=8, faces="none", decoder="test 1")


def make_store(folder, ids=("a", "b", "c"), size=8, failures=None):
    """Write a store and return its pixels, (N, size, size, 3)."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(ids), size, size, 3), dtype=np.uint8)
    pixels.tofile(folder / "pixels.bin")
    rows = [{"id": name, "sha256": f"sha of {name}", "phash": 7, "face": None} for name in ids]
    table = pa.Table.from_pylist(rows, schema=IDS)
    write_notes(folder, table, BASIS._replace(size=size), failures or {})
    return pixels
