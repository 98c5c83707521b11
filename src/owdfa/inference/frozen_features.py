"""Features of a frozen backbone: computed once for each image of a store, and kept beside its crop.

``keep_features`` computes what is missing; ``StoredImages`` then gives every user of the store what
the network takes of an image: its features where they are kept, and its pixels otherwise.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from owdfa.backbones.base import Backbone
from owdfa.devices import one_thread_an_operation
from owdfa.errors import UserError
from owdfa.images.features import StoredFeatures
from owdfa.images.store import Store
from owdfa.images.workers import threaded_map
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.progress import OnProgress, no_progress

_VERSION = 1  # one more makes the features of every store anew
_PART = 1024  # images of a file: what a kill may cost
_BATCH = 8  # maps between layers stay in a core's cache


def digest_for(method: Method, view: PlainView) -> str | None:
    """The digest by which features that ``method`` takes are found; None where it takes none."""
    return features_digest(method.backbone, view.size) if method.takes_features else None


def features_digest(backbone: Backbone, view_size: int) -> str | None:
    """Digest of all that decides the features of a crop; None where the backbone is not frozen."""
    if not backbone.is_frozen:
        return None
    digest = hashlib.sha256(f"{_VERSION} {backbone.name} {view_size}".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def keep_features(
    backbone: Backbone,
    store: Store,
    ids: Sequence[str] | pa.ChunkedArray,
    view: PlainView,
    on_progress: OnProgress = no_progress,
) -> None:
    """Compute the features of those of ``ids`` that lack them.

    Args:
        backbone: A frozen one, on its device.
        store: Where the crops are, and where the features go.
        ids: Images.
        view: What the network is shown of a crop.
        on_progress: Called with (images done, images in all).

    Raises:
        UserError: The crops would have to be resampled, or the store cannot be written.
    """
    digest = features_digest(backbone, view.size)
    assert digest is not None
    if store.size != view.size:
        raise UserError(
            f"{store.folder}: holds crops of {store.size} px, and {backbone.name} takes"
            f" {view.size} px without resampling; add --set data.views.size={store.size}, or"
            f" prepare with --size {view.size} --fit native"
        )
    backbone.to(memory_format=torch.channels_last)  # nearly twice as fast on a CPU
    rows = store.rows(ids)
    names = store.table["sha256"].take(pa.array(rows)).to_pylist()
    missing = StoredFeatures.open(store.folder, digest).missing(names)

    def compute(places: np.ndarray) -> np.ndarray:
        return _features(backbone, view(store.crops(rows[places])))

    for first in range(0, len(missing), _PART):
        part, made = missing[first : first + _PART], []
        batches = [part[start : start + _BATCH] for start in range(0, len(part), _BATCH)]
        with one_thread_an_operation() as num_threads:
            for values in threaded_map(compute, batches, num_threads):
                made.append(values)
                on_progress(first + sum(map(len, made)), len(missing), "features")
        kept = StoredFeatures.open(store.folder, digest)
        kept.add([names[place] for place in part], np.concatenate(made))


@torch.inference_mode()
def _features(backbone: Backbone, images: Tensor) -> np.ndarray:
    """(B, F) float32 of normalised images."""
    (maps,) = backbone(images.to(backbone.scale.device))
    found: np.ndarray = maps.flatten(1).float().cpu().numpy()
    return found


@dataclass(frozen=True)
class StoredImages:
    """What a backbone takes of images of a store, part by part: ``images[8:16]``.

    Attributes:
        store: Where they are.
        rows: (N,) int64, their rows in it.
        view: What the network is shown of a crop.
        kept: Features of all of them; None where they are not kept.
        names: SHA-256 of each, by which features are found; empty without them.
    """

    store: Store
    rows: np.ndarray
    view: PlainView
    kept: StoredFeatures | None
    names: Sequence[str]

    @classmethod
    def of(
        cls,
        store: Store,
        ids: Sequence[str] | pa.ChunkedArray,
        view: PlainView,
        digest: str | None,
    ) -> "StoredImages":
        """Those of ``ids``, with the features of ``digest``."""
        rows = store.rows(ids)
        if digest is None:
            return cls(store, rows, view, None, ())
        names = store.table["sha256"].take(pa.array(rows)).to_pylist()
        kept = StoredFeatures.open(store.folder, digest)
        return cls(store, rows, view, None if len(kept.missing(names)) else kept, names)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Tensor:
        if self.kept is None:
            return self.view(self.store.crops(self.rows[part]))
        return as_images(self.kept.read(self.names[part]))


def as_images(features: np.ndarray) -> Tensor:
    """Features (B, F) in the form in which a frozen backbone gives them back: (B, F, 1, 1)."""
    return torch.from_numpy(features)[:, :, None, None]
