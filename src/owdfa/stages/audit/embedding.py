"""Where images lie in the embedding of a run, or in features that are kept beside the crops."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.images.features import StoredFeatures
from owdfa.images.workers import num_processes
from owdfa.inference.inputs import Files, Inputs, Stored
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress
from owdfa.stages.audit.images import Images
from owdfa.stages.predict.parts import metadata_of, predict_parts

MISSING = (
    "near neighbours and doubtful labels were not looked for: that needs an embedding; name a run"
    " with --run"
)
_BLOCK = 512  # rows at once: similarities to a million images take 2 GB


class Embedding(NamedTuple):
    """Images as vectors of length 1."""

    rows: np.ndarray  # (M,) int64, which of the images; those without a vector are left out
    vectors: np.ndarray  # (M, D) float32
    name: str  # of what gave them


def embed(images: Images, run: Path | None, on_progress: OnProgress) -> Embedding | str:
    """Embed images by a run, or by features that all of them have; else say why not.

    Raises:
        UserError: The run cannot be read, or does not compute here.
    """
    if run is None:
        return _kept_features(images) or MISSING
    predictor = Predictor.open(run, num_callers=num_processes(0))
    rows, vectors = _predict(predictor, _inputs(images, predictor), on_progress)
    return Embedding(rows, _unit(vectors), str(run))


def _kept_features(images: Images) -> Embedding | None:
    store = images.store
    if store is None:
        return None
    names = images.table["sha256"].to_pylist()
    for folder in sorted((store.folder / "features").glob("*")):
        kept = StoredFeatures.open(store.folder, folder.name)
        if kept.parts and not len(kept.missing(names)):
            vectors = kept.read(names)
            return Embedding(np.arange(len(images)), _unit(vectors), f"features {folder.name}")
    return None


def _inputs(images: Images, predictor: Predictor) -> Inputs:
    """Crops from the store where it holds them as the run takes them, else from the files."""
    ids, store = images.table["id"].to_pylist(), images.store
    taken = (predictor.faces, predictor.store_size, predictor.fit)
    if store is not None and (store.basis.faces, store.basis.size, store.basis.fit) == taken:
        places = store.find(images.table.select(["id", "sha256"]))
        if (places >= 0).all():
            return Stored("audit", ids, store.crops(places), "")
    paths = images.table["path"].to_pylist()
    files = Files("audit", ids, paths, predictor.faces, predictor.store_size)
    return replace(files, fit=predictor.fit)


def _predict(
    predictor: Predictor, inputs: Inputs, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    size, total = predictor.session.batch_size, len(inputs.ids)
    ranges = (range(first, min(first + size, total)) for first in range(0, total, size))
    metadata = metadata_of(predictor, inputs.name)
    rows: list[np.ndarray] = []
    vectors: list[np.ndarray] = []
    done = 0
    for part in predict_parts(predictor.session, inputs, metadata, ranges, num_processes(0)):
        if part.rows is not None:
            rows.append(part.positions)
            vectors.append(_matrix(part.rows["embedding"]))
        done += len(part.positions) + len(part.errors)
        on_progress(done, total, "embedding")
    if not rows:
        return np.empty(0, np.int64), np.empty((0, 1), np.float32)
    return np.concatenate(rows), np.concatenate(vectors)


def _matrix(lists: pa.ListArray) -> np.ndarray:
    found: np.ndarray = np.asarray(lists.flatten()).reshape(len(lists), -1)
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return found


def nearest(
    vectors: np.ndarray, among: np.ndarray, barred: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of ``among`` for each of ``vectors``: its place, and the cosine.

    Args:
        vectors: (N, D), of length 1.
        among: (M, D), likewise; not empty.
        barred: Labels (N,) and (M,): one of ``among`` with an equal label does not count.
    """
    places, cosines = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), _BLOCK):
        part = slice(first, first + _BLOCK)
        similar = vectors[part] @ among.T
        if barred is not None:
            similar[barred[0][part, None] == barred[1]] = -np.inf
        places[part] = similar.argmax(axis=1)
        cosines[part] = similar.max(axis=1)
    return places, cosines
