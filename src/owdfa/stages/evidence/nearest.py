"""The labelled training images of a class that a face is most like, for the reader to compare."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.records.split import Split
from owdfa.runs.data import find_split, find_store, open_store
from owdfa.runs.metadata import RunMetadata

NUM_SHOWN = 5
NUM_COMPARED = 200
"""Images of a class that are compared at most: evenly spaced among those that were labelled."""


class Neighbour(Settings):
    """A labelled training image of the class in question."""

    id: str
    known_class: str
    cosine: float
    """Of the two embeddings, to two digits."""


class Found(NamedTuple):
    """Neighbours, and their pixels."""

    neighbours: list[Neighbour]
    crops: list[np.ndarray]  # (S, S, 3) uint8 each


class LabelledCrops:
    """The crops of a run that it was given labels of.

    Args:
        run: The run folder.
        split: Folder of the split, where it has moved.
        store: Folder of the crops, where they have moved.

    Raises:
        UserError: They are not at hand.
    """

    def __init__(self, run: Path, split: Path | None = None, store: Path | None = None) -> None:
        metadata = RunMetadata.read(run)
        folder = find_split(run, metadata, split)
        self.split = Split.read(folder)
        if self.split.digest() != metadata.provenance.split_digest:
            raise UserError(f"{folder}: is not the split that the run was trained on")
        self.store = open_store(folder, self.split, find_store(run, metadata, folder, store))

    def some(self, name: str, num: int) -> tuple[list[str], np.ndarray]:
        """Images of a class, evenly spaced among all of them.

        Args:
            name: The class.
            num: How many at most.

        Returns:
            Their ids, and their rows of the store, (N,) int64.
        """
        table = self.split.with_role("labelled")
        named = zip(table["id"].to_pylist(), table["class"].to_pylist(), strict=True)
        ids = [id_ for id_, own in named if own == name]
        if not ids:
            return [], np.zeros(0, np.int64)
        places = np.unique(np.linspace(0, len(ids) - 1, num).round().astype(int))
        ids = [ids[place] for place in places]
        return ids, self.store.rows(ids)


class TrainingImages:
    """The labelled training images of a run.

    Args:
        predictor: The run's network.
        split: Folder of the split, where it has moved.
        store: Folder of its crops, where they have moved.

    Raises:
        UserError: They are not at hand.
    """

    def __init__(
        self, predictor: Predictor, split: Path | None = None, store: Path | None = None
    ) -> None:
        if predictor.run is None:
            raise UserError(f"{predictor.source}: an exported network has no training images")
        self._predictor = predictor
        self._crops = LabelledCrops(predictor.source, split, store)
        self.split = self._crops.split
        self._embedded = cache(self._embed)

    def find(self, embedding: np.ndarray, classes: Sequence[str]) -> Found:
        """The most similar images of some classes, the most similar first.

        Args:
            embedding: (D,) of the face.
            classes: Their names.
        """
        unit = embedding / max(float(np.linalg.norm(embedding)), 1e-12)
        found: list[tuple[Neighbour, int]] = []
        for name in classes:
            ids, rows, directions = self._embedded(name)
            for id_, row, direction in zip(ids, rows, directions, strict=True):
                cosine = round(float(direction @ unit), 2)
                found.append((Neighbour(id=id_, known_class=name, cosine=cosine), row))
        found = sorted(found, key=lambda each: (-each[0].cosine, each[0].id))[:NUM_SHOWN]
        crops = [np.asarray(self._crops.store.pixels[row]) for _, row in found]
        return Found([neighbour for neighbour, _ in found], crops)

    def _embed(self, name: str) -> tuple[list[str], list[int], np.ndarray]:
        """Ids, rows of the store, and embeddings of length 1, of images of a class."""
        ids, rows = self._crops.some(name, NUM_COMPARED)
        if not ids:
            return [], [], np.zeros((0, 0), np.float32)
        pixels = self._crops.store.pixels
        step = self._predictor.session.batch_size
        parts = [
            self._predictor.predict_batch(pixels[rows[first : first + step]]).embedding
            for first in range(0, len(rows), step)
        ]
        embedding = np.concatenate(parts).astype(np.float64)
        embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
        return ids, rows.tolist(), embedding
