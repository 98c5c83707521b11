"""Where the images of a case lie on the embedding map: worked out once, and kept in the case.

t-SNE places a sample, as in a report; every other image lies among the images of the sample that it
is most like. ``maps/<embedding>.npy`` may be deleted at any time.
"""

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.clustering import squared_distances
from owdfa.files import atomic
from owdfa.images.features import StoredFeatures
from owdfa.stages.report.embedding import project
from owdfa.whitening import unit_length

FOLDER = "maps"
_KIND = np.dtype([("sha256", "S64"), ("place", "<f4", (2,))])
_NEIGHBOURS = 5  # of the sample, among which another image lies
_CHUNK = 4096
_LOCK = threading.Lock()  # who asks for the same map waits for it


class Layout(NamedTuple):
    """A map."""

    images: tuple[str, ...]  # SHA-256, in order of it
    places: np.ndarray  # (N, 2) float32

    @property
    def digest(self) -> str:
        """A short name of its images and their order."""
        return hashlib.sha256("".join(self.images).encode()).hexdigest()[:16]


def lay_out(case: Path, kept: StoredFeatures, digest: str, images: Iterable[str]) -> Layout:
    """Lay images out.

    Args:
        case: Folder of the case.
        kept: Its embeddings.
        digest: Of what makes them.
        images: SHA-256 of each; those without an embedding are left out.
    """
    names = sorted(set(images))
    lacking = set(kept.missing(names).tolist())
    there = [name for row, name in enumerate(names) if row not in lacking]
    path = case / FOLDER / f"{digest}.npy"
    with _LOCK:
        found = _read(path)
        if found is None or found["sha256"].astype("U64").tolist() != there:
            found = np.zeros(len(there), _KIND)
            found["sha256"] = [each.encode() for each in there]
            found["place"] = _places(unit_length(kept.read(there))) if there else 0
            with atomic(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, found)
    return Layout(tuple(there), np.ascontiguousarray(found["place"]))


def _read(path: Path) -> np.ndarray | None:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found.dtype == _KIND else None


def _places(rows: np.ndarray) -> np.ndarray:
    """Place (N, 2) of each row (N, D) of length 1."""
    sample = project(rows)
    if sample is None:  # too few, or all the same: a circle
        angle = np.linspace(0, 2 * np.pi, len(rows), endpoint=False)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    places = np.empty((len(rows), 2), np.float32)
    places[sample.rows] = sample.places
    rest = np.setdiff1d(np.arange(len(rows)), sample.rows)
    known, num = rows[sample.rows], min(_NEIGHBOURS, len(sample.rows))
    for first in range(0, len(rest), _CHUNK):
        part = rest[first : first + _CHUNK]
        far = squared_distances(rows[part], known)
        near = np.argpartition(far, num - 1, axis=1)[:, :num]
        weight = 1 / (np.take_along_axis(far, near, axis=1) + 1e-6)
        weight /= weight.sum(axis=1, keepdims=True)
        places[part] = (sample.places[near] * weight[..., None]).sum(axis=1)
    return places
