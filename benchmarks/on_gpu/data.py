"""Images for the measurement: drawn by ``lab``, prepared, and repeated up to the number asked for.

What a training costs does not depend on what the images show. A few hundred are drawn, and every
row of the training table names one of them: the crops resident on the GPU are as many as there are
rows, each in memory of its own.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.datasets.lab import LabSettings, draw
from owdfa.images.store import Store
from owdfa.records.manifest import Manifest
from owdfa.records.split import TrainingRows
from owdfa.records.training import UNLABELLED
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan

NUM_KNOWN = 19  # of OWDFA-40's first protocol, real faces among them; 41 classes in all
_NUM_DRAWN = 13  # classes of lab


class Images(NamedTuple):
    """What there is to train on."""

    store: Store
    rows: TrainingRows
    files: list[Path]  # the images of the rows, as JPEG
    drawn: int  # how many differ
    seconds: float  # that drawing took


def make(folder: Path, *, drawn: int, rows: int, side: int) -> Images:
    """Draw some ``drawn`` images of ``side`` x ``side`` pixels and name ``rows`` of them."""
    start = time.perf_counter()
    each = max(1, drawn // _NUM_DRAWN)
    settings = LabSettings(images_per_method=each, real_images=each, size=side)
    jobs = 0 if drawn > 100 else 1  # 0: every core
    draw(folder / "images", settings, jobs=jobs)
    seconds = time.perf_counter() - start
    scan(f"lab:{folder / 'images'}", folder / "images.parquet")
    store = prepare(folder / "images.parquet", folder / "store", faces="none", size=side, jobs=jobs)
    table = Manifest.read(folder / "images.parquet").table
    paths = dict(zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True))
    names = store.table["id"].to_pylist()
    ids = [names[i % len(names)] for i in range(rows)]
    labels = np.arange(rows) % NUM_KNOWN
    labels[np.arange(rows) % 5 < 3] = UNLABELLED  # three in five, as there
    files = [Path(paths[id_]) for id_ in ids]
    return Images(store, TrainingRows(ids, labels), files, len(names), seconds)
