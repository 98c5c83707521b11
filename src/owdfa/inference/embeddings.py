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
from owdfa.images.features import FEATURES, StoredFeatures
from owdfa.images.workers import num_processes, threaded_map
from owdfa.inference.inputs import read_crop
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress, no_progress
from owdfa.runs.lock import writing

_VERSION = 1  # one more makes all of them anew
PART = 2048
"""Images of a file: what a kill may cost."""


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
    missing = [names[row] for row in StoredFeatures.open(folder, digest).missing(names)]
    one = partial(_embed, predictor, files)
    made = threaded_map(one, _parts(missing, predictor.session.batch_size), num_processes(jobs))
    found: dict[str, np.ndarray] = {}
    done = 0
    for tried, rows in made:
        done += tried
        found |= rows
        if len(found) >= PART or done == len(missing):
            add_embeddings(folder, digest, found)
            found = {}
        on_progress(done, len(missing))
    return StoredFeatures.open(folder, digest)


def add_embeddings(folder: Path, digest: str, found: Mapping[str, np.ndarray]) -> None:
    """Keep embeddings, but for those that are kept.

    Args:
        folder: Where, below ``features/``; nobody else writes to it meanwhile.
        digest: See ``embedding_digest``.
        found: (D,) each, by the SHA-256 of the file.
    """
    kept, names = StoredFeatures.open(folder, digest), list(found)
    new = [names[row] for row in kept.missing(names)]
    if new:
        kept.add(new, np.stack([found[name] for name in new]))


def move_embeddings(folder: Path, predictor: Predictor, found: dict[str, np.ndarray]) -> None:
    """Keep embeddings, and empty ``found`` of them; threads may go on adding to it meanwhile.

    Raises:
        UserError: Another process is writing to ``features/``.
    """
    names = list(found)
    if names:
        with writing(folder / FEATURES):
            moved = {name: found.pop(name) for name in names}
            add_embeddings(folder, embedding_digest(predictor), moved)


def _embed(
    predictor: Predictor, files: Mapping[str, Path], names: Sequence[str]
) -> tuple[int, dict[str, np.ndarray]]:
    """How many were tried, and the embeddings of those that could be embedded."""
    crops = {}
    for name in names:
        try:
            data = read(files[name])
            if hashlib.sha256(data).hexdigest() == name:
                crop = read_crop(data, predictor.faces, predictor.store_size, predictor.fit)
                crops[name] = crop
        except BadImageError:
            continue
    if not crops:
        return len(names), {}
    rows = predictor.predict_batch(np.stack(list(crops.values()))).embedding
    return len(names), dict(zip(crops, rows, strict=True))


def _parts(names: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(names)
    while part := tuple(islice(rest, size)):
        yield part
