"""From crops on disk to batches: which images, in which order, in which views.

Nothing here has a state. The order of an epoch is a function of (seed, epoch), the augmentation of
an image one of (seed, epoch, view, position in the epoch): a resumed run, and any number of
workers, get bit-identical batches. Memory holds one integer an image and the batches under way;
pixels are mapped from the disk.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from owdfa.config import Settings
from owdfa.distributed import Shard, get_shard
from owdfa.errors import UserError
from owdfa.images.faces import Fit
from owdfa.images.store import Store
from owdfa.loading.sampling import Sampling, sample_epoch
from owdfa.loading.views import PlainView, TrainingViews, ViewSettings
from owdfa.records.split import TrainingRows
from owdfa.records.training import Batch

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where torch's workers put batches
_AHEAD = 3  # batches of a worker: two made ahead, one in use


class LoaderSettings(Settings):
    """Settings of the batches."""

    batch_size: int = Field(ge=2)
    """Images in a batch, over all processes."""
    images_per_epoch: int | Literal["all"] = "all"
    """Images sampled for an epoch; all takes as many as there are to train on."""
    sampling: Sampling = "shuffled"
    """shuffled: each once; half_labelled: half of a batch labelled; alternating: and by class."""
    workers: int = Field(default=0, ge=0)
    """Processes that make batches; 0 makes them in the training process."""
    fit: Fit = "resize"
    """How owdfa run makes crops: resize, or native (cut out at the image's own resolution)."""
    views: ViewSettings
    """Sizes and augmentation."""


class PlainBatch(NamedTuple):
    """Images to predict."""

    images: Tensor  # (B, 3, size, size) float32, normalised
    positions: np.ndarray  # (B,) int64: which of the images that were asked for


@final
class TrainingLoader:
    """Batches of views of the images of a store.

    The last batch of an epoch may be smaller; one that leaves a process fewer than two images is
    left out, since batch normalisation cannot use it. Where several processes train, the views are
    those of this one's rows of a batch; labels and rows are those of the whole batch.

    Args:
        store: Where the crops are.
        rows: The images to train on, and the labels that may be seen.
        settings: Batches and views.
        views: Makes the views of crops.
        pin_memory: Whether batches are put into page-locked memory, from where a GPU copies them
            while it computes.

    Raises:
        UserError: An image is not in the store, or there are too few for a batch.
    """

    def __init__(
        self,
        store: Store,
        rows: TrainingRows,
        settings: LoaderSettings,
        views: TrainingViews,
        *,
        pin_memory: bool = False,
    ) -> None:
        shard, per_epoch = get_shard(), settings.images_per_epoch
        num_images = len(rows.ids) if per_epoch == "all" else per_epoch
        full, rest = divmod(num_images, settings.batch_size)
        self.num_images = num_images
        self.num_steps = full + (rest >= 2 * shard.num)
        if len(rows.ids) < 2 or not self.num_steps or settings.batch_size < 2 * shard.num:
            raise UserError(
                f"{store.folder}: {len(rows.ids)} images to train on, {num_images} an epoch, in"
                f" batches of {settings.batch_size}; each of {shard.num} processes needs at least"
                " 2 in a batch"
            )
        batch_bytes = len(views.kinds) * settings.batch_size * 3 * settings.views.size**2
        _check_shared_memory(settings.workers, batch_bytes)
        self._steps = _Steps(self.num_steps)
        self._batches = DataLoader(
            _Batches(store, rows, settings, views, num_images, shard),
            batch_size=None,  # an item is a batch already
            sampler=self._steps,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            pin_memory=pin_memory,
            # Its own generator: starting an epoch must not move the training's random numbers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self.num_steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through an epoch, from batch ``start`` on.

        Raises:
            UserError: A process that makes batches was killed.
        """
        self._steps.epoch, self._steps.start = epoch, start
        try:
            yield from self._batches
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise UserError(
                f"data.workers: {str(error).splitlines()[0]}; run the same command with --resume"
                " to continue, with --set data.workers=0 where memory is short"
            ) from None


class _Steps(Sampler[tuple[int, int]]):
    """Names the batches of an epoch: (epoch, step). Workers that outlive an epoch need both."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, step) for step in range(self.start, self.num_steps))

    def __len__(self) -> int:
        return self.num_steps - self.start


class _Batches(Dataset[Batch]):
    """Makes the batch of any (epoch, step)."""

    def __init__(
        self,
        store: Store,
        rows: TrainingRows,
        settings: LoaderSettings,
        views: TrainingViews,
        num_images: int,
        shard: Shard,
    ) -> None:
        self.store = store
        self.labels = np.asarray(rows.labels, dtype=np.int64)
        self.indices = store.rows(rows.ids)
        self.settings = settings
        self.views = views
        self.num_images = num_images
        self.shard = shard
        self.order: tuple[int, np.ndarray] = (-1, self.indices[:0])  # of the epoch last asked for

    def __getitem__(self, name: tuple[int, int]) -> Batch:
        epoch, step = name
        if self.order[0] != epoch:
            sampling, seed = self.settings.sampling, self.views.seed
            order = sample_epoch(self.labels, sampling, self.num_images, seed=seed, epoch=epoch)
            self.order = (epoch, order)
        first = step * self.settings.batch_size
        rows = self.order[1][first : first + self.settings.batch_size]
        own = self.shard.rows(len(rows))
        crops = self.store.crops(self.indices[rows[own]])
        views = self.views(crops, epoch, first + own.start)
        return Batch(views, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows.copy()))


def _check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raise when the batches that workers make ahead do not fit into shared memory.

    A worker would be killed when it touches a page that is not there.
    """
    if not workers or not _SHARED_MEMORY.is_dir():
        return
    needed = workers * _AHEAD * batch_bytes
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < needed:
        raise UserError(
            f"data.workers: {workers} workers need {needed / 1e6:.0f} MB of {_SHARED_MEMORY}, which"
            f" has {free / 1e6:.0f} MB; set data.workers=0, or give the container more"
            " (docker run --shm-size)"
        )


def plain_batches(
    store: Store, ids: Sequence[str], view: PlainView, *, batch_size: int = 128
) -> Iterator[PlainBatch]:
    """Go through images of a store in the order of ``ids``, each once.

    Raises:
        UserError: An image is not in the store.
    """
    indices = store.rows(ids)
    for first in range(0, len(indices), batch_size):
        rows = indices[first : first + batch_size]
        yield PlainBatch(view(store.crops(rows)), np.arange(first, first + len(rows)))
