"""A prepared, split data set of a few coloured squares, made in milliseconds."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.images.store import IDS, StoreBasis, write_notes
from owdfa.records.manifest import SCHEMA as MANIFEST_SCHEMA
from owdfa.records.manifest import Manifest
from owdfa.records.split import SCHEMA as SPLIT_SCHEMA
from owdfa.records.split import Basis, Split

CLASSES = ("real", "swap", "warp", "paint")  # the first two are known
SIDE = 16


class TinyData(NamedTuple):
    """Folders and files of a data set."""

    manifest: Path
    store: Path
    split: Path


def make_data(folder: Path, *, per_class: int = 12, relabel: dict[str, str] | None = None):
    """Write manifest, store and split.

    Args:
        folder: Where.
        per_class: Images of each class; of a known class, half are labelled, one is held back.
        relabel: Another class for images whose class is hidden from training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{name}/{i:03d}.png" for name in CLASSES for i in range(per_class)]
    ids.sort()
    truth = [id_.split("/")[0] for id_ in ids]
    roles = [_role(id_, per_class) for id_ in ids]
    shown = [
        (relabel or {}).get(name, name) if role in ("unlabelled", "test") else name
        for name, role in zip(truth, roles, strict=True)
    ]
    rows = [
        {"id": id_, "path": str(folder / id_), "class": name, "group": id_, "sha256": f"{i:064d}"}
        for i, (id_, name) in enumerate(zip(ids, truth, strict=True))
    ]
    table = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    data = TinyData(folder / "images.parquet", folder / "store", folder / "split")
    manifest = Manifest(table, "folder:tiny", data.store)
    manifest.write(data.manifest)
    _store(data.store, table, truth)
    basis = Basis(str(data.manifest), manifest.digest(), None, "group", 0, 0.5, 0.25, 0.1)
    columns = [ids, roles, shown, ids, table["sha256"]]
    split = pa.table(dict(zip(SPLIT_SCHEMA.names, columns, strict=True)), schema=SPLIT_SCHEMA)
    Split(split, CLASSES[:2], CLASSES[2:], basis).write(data.split)
    return data


def _role(id_: str, per_class: int) -> str:
    name, place = id_.split("/", maxsplit=1)[0], int(id_[-7:-4]) / per_class
    if place < 0.25:
        return "test"
    if name in CLASSES[:2]:
        return "labelled" if place < 0.75 else "validation" if place < 0.85 else "unlabelled"
    return "unlabelled"


def _store(folder: Path, table: pa.Table, truth: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    colours = draw.integers(30, 220, (len(CLASSES), 1, 1, 3))
    noise = draw.integers(-20, 20, (len(truth), SIDE, SIDE, 3))
    pixels = colours[[CLASSES.index(name) for name in truth]] + noise
    pixels.astype(np.uint8).tofile(folder / "pixels.bin")
    basis = StoreBasis(SIDE, "none", "tiny")
    write_notes(folder, table.select(IDS.names), basis, {})


TINY = [  # settings of a run that takes a second, over a recipe
    "epochs=3",
    "device=cpu",
    "backbone.name=tiny/trace8w16",
    "backbone.weights=none",
    "data.batch_size=8",
    "data.images_per_epoch=all",
    "data.sampling=half_labelled",
    f"data.views.size={SIDE}",
    "data.views.crop_size=18",
    "optimiser.lr=0.01",
    "schedule.name=constant",
    "stages=[]",
    "onnx=false",  # exporting takes seconds; a test that needs it asks for it
    "log_every=2",
]
DRIFT = [*TINY, "method.name=outside.drift"]
CENTRES = ["method.name=outside.centres", "device=cpu", "onnx=false", "log_every=1"]
