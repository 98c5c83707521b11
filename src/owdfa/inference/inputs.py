"""Which images a command means: image files, or a role of a split; and their crops."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, final

import numpy as np
from PIL import Image as Pillow

from owdfa.catalog import nearest
from owdfa.errors import UserError
from owdfa.images import store
from owdfa.images.decode import BadImageError, decoded
from owdfa.images.faces import Fit, check_faces, crop_pixels, crop_to_size, detector
from owdfa.images.features import StoredFeatures
from owdfa.inference.lists import name_files, no_images
from owdfa.records.split import ROLES, Split
from owdfa.runs.data import find_split, find_store, open_store

if TYPE_CHECKING:
    from owdfa.inference.predictor import Predictor

_PREFIX = "split:"

Image = str | Path | bytes | np.ndarray  # a file, the content of one, or pixels (H, W, 3) uint8


class Crops(NamedTuple):
    """What a network is given of some images."""

    pixels: np.ndarray  # (B, S, S, 3) uint8, of those that can be used
    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    errors: dict[int, str]  # position -> why it cannot be used
    features: np.ndarray | None = None  # (B, F) float32 where a frozen backbone's are kept


class Inputs(Protocol):
    """Images to predict."""

    @property
    def name(self) -> str:
        """What they are called, for the record."""
        ...

    @property
    def ids(self) -> list[str]:
        """Their ids, sorted."""
        ...

    @property
    def split_digest(self) -> str | None:
        """Digest of the split that they are of; None for files."""
        ...

    @property
    def passed_over(self) -> Sequence[tuple[str, str]]:
        """Path and reason of each file beside them that is no image."""
        ...

    def read(self, positions: range) -> Crops:
        """Crops of the images at these positions; may be called from several threads."""
        ...


@final
@dataclass(frozen=True)
class Files:
    """Image files, decoded and cropped as ``prepare`` does: the numbers agree."""

    name: str
    ids: list[str]
    paths: list[str]
    faces: str
    size: int
    passed_over: Sequence[tuple[str, str]] = ()
    split_digest: None = None
    fit: Fit = "resize"

    def read(self, positions: range) -> Crops:
        """Crops of the files at these positions."""
        good, made, errors = [], [], {}
        for position in positions:
            try:
                path = Path(self.paths[position])
                made.append(crop_pixels(path, self.faces, self.size, self.fit))
                good.append(position)
            except BadImageError as error:
                errors[position] = error.reason
        pixels = np.stack(made) if made else np.zeros((0, self.size, self.size, 3), np.uint8)
        return Crops(pixels, np.array(good, dtype=np.int64), errors)


@final
@dataclass(frozen=True)
class Stored:
    """Images of a role of a split, whose crops are in the store."""

    name: str
    ids: list[str]
    crops: store.Crops
    split_digest: str
    features: StoredFeatures | None = None
    names: Sequence[str] = ()  # SHA-256 of each, by which features are found
    passed_over: Sequence[tuple[str, str]] = ()

    def read(self, positions: range) -> Crops:
        """Crops of the images at these positions, and their features if there are any."""
        part = slice(positions.start, positions.stop)
        found = None if self.features is None else self.features.read(self.names[part])
        return Crops(self.crops[part], np.arange(part.start, part.stop), {}, found)


def read_crop(image: Image, faces: str, size: int, fit: Fit = "resize") -> np.ndarray:
    """Make the crop of one image: (size, size, 3) uint8.

    Args:
        image: A file, the content of one, or pixels (H, W, 3) uint8 RGB.
        faces: Name of the face detector.
        size: Side of the crop.
        fit: How it gets that size.

    Raises:
        BadImageError: The image cannot be used.
    """
    if isinstance(image, str | Path):
        return crop_pixels(Path(image), faces, size, fit)
    if isinstance(image, bytes):
        picture = decoded(image, "image")
    elif image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        picture = Pillow.fromarray(image)
    else:
        raise BadImageError("image", f"is {image.dtype} {image.shape}, not (H, W, 3) uint8")
    face = next(iter(detector(faces).detect(np.asarray(picture))), None)
    return crop_to_size(picture, face, size, fit)


def find_images(
    predictor: "Predictor",
    images: str | Path | Sequence[Path],
    split: Path | None = None,
    store: Path | None = None,
) -> Inputs:
    """Find images, and say how their crops are made.

    Args:
        predictor: What they are for.
        images: ``"split:test"`` or another role of a split, or files as in ``name_files``.
        split: Folder of the split for ``"split:..."``; None for the one it was trained on.
        store: Folder of the crops of that split; None to look for it.

    Raises:
        UserError: There are none, or they do not belong to the run.
    """
    if isinstance(images, str) and images.startswith(_PREFIX):
        return _split_images(predictor, images.removeprefix(_PREFIX), split, store)
    named = name_files(images)
    files = sorted(named.files)
    if not files:
        raise no_images(named)
    check_faces(predictor.faces)
    ids, paths = [file.id for file in files], [file.path for file in files]
    faces, size = predictor.faces, predictor.store_size
    return Files(named.name, ids, paths, faces, size, named.passed_over, fit=predictor.fit)


def _split_images(
    predictor: "Predictor", role: str, folder: Path | None, store: Path | None
) -> Stored:
    """The images of one role of a split."""
    if role not in ROLES:
        raise UserError(f"{_PREFIX}{role}: no such role{nearest(role, list(ROLES))}")
    source, run = predictor.source, predictor.run
    if run is not None:
        folder = find_split(source, run, folder)
        store = find_store(source, run, folder, store)
    if folder is None:
        raise UserError(f"{source}: does not say where its split is; name one with --split")
    split = Split.read(folder, ("id", "role"))
    if predictor.provenance.split_digest not in (None, split.digest()):
        raise UserError(
            f"{folder}: is not the split that {source} was trained on; its test images may be"
            " among those it learned from; train on this split, or name the other with --split"
        )
    ids = split.with_role(role)["id"].to_pylist()
    if not ids:
        raise UserError(f"{folder}: holds no {role} images; split again")
    found = open_store(folder, split, store)
    basis, taken = found.basis, (predictor.faces, predictor.store_size, predictor.fit)
    if (basis.faces, basis.size, basis.fit) != taken:
        raise UserError(
            f"{found.folder}: was prepared with faces {basis.faces} and size {basis.size}, fit"
            f" {basis.fit}; {source} takes {', '.join(map(str, taken))}, prepare the images so"
        )
    rows = found.rows(ids)
    made = Stored(f"{_PREFIX}{role}", ids, found.crops(rows), split.digest())
    if predictor.features is None:
        return made
    names = found.table["sha256"].take(rows).to_pylist()
    kept = StoredFeatures.open(found.folder, predictor.features)
    return made if len(kept.missing(names)) else replace(made, features=kept, names=names)
