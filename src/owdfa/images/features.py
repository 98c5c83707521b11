"""Features that are the same at all times for an image: computed once, kept beside the crops.

Below the folder of a store, a folder for each way of computing them::

    features/<digest>/00000.npy    some images: SHA-256 of the file, and F numbers in float32
    features/<digest>/00001.npy    later ones

The digest is of all that decides the numbers besides the crop: the network's weights, the size of
what it sees. Files are only ever added, each whole or not at all, and mapped into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from owdfa.errors import UserError
from owdfa.files import atomic

FEATURES = "features"


@dataclass(frozen=True)
class StoredFeatures:
    """What a store holds of one kind of features.

    Attributes:
        folder: Of this kind; it need not be there.
        parts: Of each file its rows: ``sha256`` and ``values``.
    """

    folder: Path
    parts: tuple[np.ndarray, ...]

    @classmethod
    def open(cls, store: Path, digest: str) -> "StoredFeatures":
        """Open the features of the crops in the folder ``store``.

        Raises:
            UserError: A file of them is damaged.
        """
        folder = store / FEATURES / digest
        return cls(folder, tuple(map(_mapped, sorted(folder.glob("*.npy")))))

    @cached_property
    def _places(self) -> dict[bytes, int]:
        names = (name for part in self.parts for name in part["sha256"].tolist())
        return {name: place for place, name in enumerate(names)}

    def missing(self, sha256: Sequence[str]) -> np.ndarray:
        """Which of these images are not here: indices, the first of each content."""
        wanted = {each.encode(): place for place, each in reversed(list(enumerate(sha256)))}
        # Not a difference of sets, which would go through all that is here.
        lacking = (place for each, place in wanted.items() if each not in self._places)
        return np.array(sorted(lacking), np.int64)

    def read(self, sha256: Sequence[str]) -> np.ndarray:
        """Features of images, all of which are here: (len(sha256), F) float32."""
        places = np.array([self._places[each.encode()] for each in sha256], np.int64)
        made = np.empty((len(places), *self.parts[0]["values"].shape[1:]), np.float32)
        first = 0
        for part in self.parts:
            here = (places >= first) & (places < first + len(part))
            made[here] = part["values"][places[here] - first]
            first += len(part)
        return made

    def add(self, sha256: Sequence[str], values: np.ndarray) -> None:
        """Write features (N, F) of images that are not here; open anew to see them."""
        kind = [("sha256", "S64"), ("values", "<f4", values.shape[1:])]
        rows = np.empty(len(values), np.dtype(kind))
        rows["sha256"], rows["values"] = [each.encode() for each in sha256], values
        number = len(list(self.folder.glob("*.npy")))
        with atomic(self.folder / f"{number:05d}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, rows)


def _mapped(path: Path) -> np.ndarray:
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        names = rows.dtype.names
    except (OSError, ValueError):
        names = None
    if names != ("sha256", "values"):
        raise UserError(f"{path}: is damaged; delete the folder {path.parent}, it is made again")
    return rows
