"""Embeddings of image files: computed once by a network, and kept by the SHA-256 of the file.

Of a file with several faces it is that of the most confident one, which ``prepare`` crops, too.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from owdfa.images.decode import BadImageError, read
from owdfa.images.features import StoredFeatures
from owdfa.images.workers import num_processes, threaded_map
from owdfa.inference.inputs import read_crop
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress, no_progress

_VERSION = 1  # one more makes all of them anew
_PART = 2048  # images of a file: what a kill may cost


def embedding_digest(predictor: Predictor) -> str:
    """Digest of all that decides the embedding of a file."""
    made = predictor.provenance
    weights = made.weights_digest or str(predictor.source)
    basis = (_VERSION, weights, made.precision, predictor.faces, predictor.store_size)
    return hashlib.sha256(repr((*basis, predictor.fit)).encode()).hexdigest()[:16]


def keep_embeddings(
    predictor: Predictor,
    folder: Path,
    files: Mapping[str, Path],
    *,
    jobs: int = 0,
    on_progress: OnProgress = no_progress,
) -> StoredFeatures:
    """Embed the files that have no embedding yet.

    Files that are no longer there, or no longer the same, are left out.

    Args:
        predictor: The network.
        folder: Where embeddings are kept, below ``features/``; nobody else writes to it meanwhile.
        files: By the SHA-256 of their content.
        jobs: Threads that work at the same time; 0 for one a core.
        on_progress: Called with (files done, files that had none).

    Returns:
        All embeddings there.
    """
    digest, names = embedding_digest(predictor), list(files)
    kept = StoredFeatures.open(folder, digest)
    missing = [names[row] for row in kept.missing(names)]
    one = partial(_embed, predictor, files)
    made = threaded_map(one, _parts(missing, predictor.session.batch_size), num_processes(jobs))
    done = 0
    found: list[tuple[list[str], np.ndarray]] = []
    for tried, good, rows in made:
        done += tried
        found.append((good, rows))
        if sum(len(each) for each, _ in found) >= _PART or done == len(missing):
            _write(kept, found)
            found = []
        on_progress(done, len(missing))
    return StoredFeatures.open(folder, digest)


def _write(kept: StoredFeatures, found: Sequence[tuple[list[str], np.ndarray]]) -> None:
    names = [name for good, _ in found for name in good]
    if names:
        kept.add(names, np.concatenate([rows for good, rows in found if good]))


def _embed(
    predictor: Predictor, files: Mapping[str, Path], names: Sequence[str]
) -> tuple[int, list[str], np.ndarray]:
    """How many were tried, which of them could be embedded, and their embeddings (B, D)."""
    good, crops = [], []
    for name in names:
        try:
            data = read(files[name])
            if hashlib.sha256(data).hexdigest() != name:
                continue
            crops.append(read_crop(data, predictor.faces, predictor.store_size, predictor.fit))
        except BadImageError:
            continue
        good.append(name)
    if not good:
        return len(names), [], np.zeros((0, 0), np.float32)
    return len(names), good, predictor.predict_batch(np.stack(crops)).embedding


def _parts(names: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(names)
    while part := tuple(islice(rest, size)):
        yield part
