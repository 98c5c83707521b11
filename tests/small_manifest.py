"""Manifests of images that are not there, and what a split makes of them."""

import pyarrow as pa
import pyarrow.compute as pc

from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.split import ROLES


def write_manifest(path, rows, order=None):
    """Write a manifest of (class, group, source) triples; "real" is the family of class "real"."""
    columns = {name: [None] * len(rows) for name in SCHEMA.names}
    columns["class"], columns["group"], columns["source"] = map(list, zip(*rows, strict=True))
    columns["id"] = [
        f"{class_ or '_unlabelled'}/{i:06d}.png" for i, (class_, *_) in enumerate(rows)
    ]
    columns["path"] = [f"/photos/{name}" for name in columns["id"]]
    columns["sha256"] = [f"{i:064x}" for i in range(len(rows))]
    columns["family"] = ["real" if str(class_).lower() == "real" else "swap" for class_, *_ in rows]
    table = pa.table(columns, schema=SCHEMA)
    table = table.sort_by("id") if order is None else table.take(pa.array(order, pa.int64()))
    Manifest(table, "folder:photos").write(path)
    return path


def singles(**sizes):
    """So many images of each class, each a group of its own."""
    return [(name, f"{name}-{i}", None) for name, n in sizes.items() for i in range(n)]


def counts(made, class_):
    """Images of a class in each role, in order of ``ROLES``."""
    rows = made.table.filter(pc.equal(made.table["class"], class_))
    return [pc.sum(pc.equal(rows["role"], role)).as_py() for role in ROLES]
