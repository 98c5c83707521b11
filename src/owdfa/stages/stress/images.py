"""Test images, corrupted and cropped: what a level of the grid gives the network.

The files themselves are corrupted where they are at hand, before a face is sought, because that is
what happens to an image that somebody is sent: its compression has its blocks, and its face may no
longer be found. Where they are not, the stored crops are corrupted: then the crop is the same at
every level, and blocks and pixels of the corruption are those of the crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, final
from zlib import crc32

import numpy as np

from owdfa.errors import UserError
from owdfa.images import store
from owdfa.images.decode import BadImageError, decoded, read
from owdfa.images.faces import Fit
from owdfa.inference.inputs import Crops, Stored, read_crop
from owdfa.inference.predictor import Predictor
from owdfa.records.manifest import Manifest
from owdfa.records.rows import indices_of
from owdfa.records.split import Split
from owdfa.stages.stress.grid import NONE, Level, grid

AppliedTo = Literal["originals", "crops"]


class Source(Protocol):
    """Pixels of all images of a role before they are corrupted."""

    def pixels(self, position: int) -> np.ndarray:
        """Of an image, (H, W, 3) uint8.

        Raises:
            BadImageError: It cannot be used.
        """
        ...


@final
@dataclass(frozen=True)
class Originals:
    """Image files, which must be those that were scanned."""

    paths: Sequence[str]
    digests: Sequence[str]  # SHA-256

    def pixels(self, position: int) -> np.ndarray:
        """Decode a file."""
        path = Path(self.paths[position])
        data = read(path)
        if sha256(data).hexdigest() != self.digests[position]:
            raise BadImageError(path, "has changed since it was scanned")
        return np.asarray(decoded(data, path))


@final
@dataclass(frozen=True)
class StoredCrops:
    """Crops of a store."""

    crops: store.Crops

    def pixels(self, position: int) -> np.ndarray:
        """Copy a crop."""
        found: np.ndarray = self.crops[position : position + 1][0]
        return found


class Taken(NamedTuple):
    """Which images are stressed, and from where they are taken."""

    source: Source
    applied_to: AppliedTo
    note: str | None  # why the files are not what is corrupted


@final
@dataclass(frozen=True)
class Corrupted:
    """Images at one level, as ``inference.inputs.Inputs`` has them."""

    name: str
    ids: list[str]
    rows: np.ndarray  # (N,) int64, places of the images in ``source``
    split_digest: str
    source: Source
    faces: str
    size: int
    fit: Fit
    level: Level = grid()[0]
    passed_over: Sequence[tuple[str, str]] = ()

    def at(self, level: Level) -> "Corrupted":
        """The same images at another level."""
        return replace(self, level=level)

    def only(self, places: np.ndarray) -> "Corrupted":
        """Some of the images: those at these places."""
        return replace(self, ids=[self.ids[each] for each in places], rows=self.rows[places])

    def read(self, positions: range) -> Crops:
        """Corrupt and crop the images at these positions."""
        good, made, errors = [], [], {}
        for position in positions:
            try:
                made.append(self._crop(position))
                good.append(position)
            except BadImageError as error:
                errors[position] = error.reason
        pixels = np.stack(made) if made else np.zeros((0, self.size, self.size, 3), np.uint8)
        return Crops(pixels, np.array(good, dtype=np.int64), errors)

    def _crop(self, position: int) -> np.ndarray:
        # The seed is the image's own: neither the order nor the number of images matters.
        seed = crc32(self.ids[position].encode())
        image = self.level.apply(self.source.pixels(int(self.rows[position])), seed)
        return read_crop(image, self.faces, self.size, self.fit)


def corrupted(predictor: Predictor, stored: Stored, rows: np.ndarray, taken: Taken) -> Corrupted:
    """Images of a role, unchanged as yet.

    Args:
        predictor: What they are for.
        stored: All images of the role.
        rows: (N,) int64, which of them.
        taken: From where they are taken.
    """
    faces = predictor.faces if taken.applied_to == "originals" else NONE
    ids = [stored.ids[row] for row in rows]
    size, fit = predictor.store_size, predictor.fit
    return Corrupted(stored.name, ids, rows, stored.split_digest, taken.source, faces, size, fit)


def take(stored: Stored, split: Split, *, crops: bool) -> Taken:
    """Take the files where all are at hand, the crops otherwise, or where they are asked for.

    Args:
        stored: All images of the role.
        split: That they are of.
        crops: Whether to take the crops in any case.
    """
    if not crops:
        found = _originals(stored.ids, split)
        if isinstance(found, Originals):
            return Taken(found, "originals", None)
        note = f"{found}; the stored crops are corrupted instead"
    return Taken(StoredCrops(stored.crops), "crops", None if crops else note)


def _originals(ids: list[str], split: Split) -> Originals | str:
    """The files of images, or why they are not at hand."""
    try:
        manifest = Manifest.read(Path(split.basis.manifest), ("id", "path", "sha256")).table
    except UserError as error:
        return str(error)
    places = indices_of(ids, manifest["id"])
    if (places < 0).any():
        return f"{split.basis.manifest}: does not list {ids[int(np.argmin(places))]!r}"
    rows = manifest.take(places)
    paths, digests = rows["path"].to_pylist(), rows["sha256"].to_pylist()
    missing = next((path for path in paths if not Path(path).is_file()), None)
    return Originals(paths, digests) if missing is None else f"{missing}: is not there"
