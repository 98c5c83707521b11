"""From crops on disk to batches: which images, in which order, in which view.

Nothing here has a state. The order of an epoch is a function of (seed, epoch), the augmentation of
an image one of (seed, epoch, position in the epoch): a resumed run, and any number of workers, see
the same bits. Memory holds one integer an image and the batches under way; pixels are mapped from
the disk.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from owdfa.config import Settings
from owdfa.distributed import Share, own_share
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.images.views import Colour, PlainView, TrainingViews, ViewSettings
from owdfa.records.split import TrainingRows
from owdfa.records.training import UNLABELLED, Batch

Sampling = Literal["balanced", "shuffled"]

_ORDER = 2  # beside the two views: the stream that draws the order


class LoaderSettings(Settings):
    """Settings of the batches; the defaults are the paper's."""

    batch_size: int = Field(default=128, ge=2)
    workers: int = Field(default=0, ge=0)  # processes that make batches; 0: the training's own
    images_per_epoch: int | None = Field(default=None, ge=2)  # None: as many as there are
    sampling: Sampling = "balanced"  # see ``epoch_order``
    views_on: Literal["host", "device"] = "host"  # where views are made; the same bits on both
    device_share: float = Field(default=0.5, ge=0, le=1)  # of a GPU's free memory, for crops there
    views: ViewSettings = ViewSettings()


class PlainBatch(NamedTuple):
    """Images to predict."""

    images: Tensor  # (B, 3, size, size) float32, normalised
    positions: np.ndarray  # (B,) int64: which of the images that were asked for


def epoch_order(
    labels: np.ndarray, sampling: Sampling, num_images: int, *, seed: int, epoch: int
) -> np.ndarray:
    """Draw the images of an epoch.

    ``balanced`` is CAL's rule: with replacement, weight 1 for a labelled image and num_labelled /
    num_unlabelled for an unlabelled one, so half the draws fall on either kind, whatever their
    numbers; where one kind is missing, all fall on the other. ``shuffled`` takes every image once
    before any comes again.

    Args:
        labels: (N,) class indices, or ``UNLABELLED``.
        sampling: The rule.
        num_images: Number of images to draw.
        seed: With ``epoch`` it decides the order.
        epoch: Counted from 0.

    Returns:
        (num_images,) int64: rows of ``labels``.
    """
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, _ORDER))))
    if sampling == "shuffled":
        rounds = -(-num_images // len(labels))
        order = np.concatenate([stream.permutation(len(labels)) for _ in range(rounds)])
        return order[:num_images]
    kinds = [np.flatnonzero(labels != UNLABELLED), np.flatnonzero(labels == UNLABELLED)]
    kind, place = stream.random((2, num_images))
    share = 0.5 if all(map(len, kinds)) else float(len(kinds[0]) > 0)
    labelled, unlabelled = (
        np.resize(rows, max(1, len(rows)))[(place * len(rows)).astype(np.int64)] for rows in kinds
    )
    chosen: np.ndarray = np.where(kind < share, labelled, unlabelled)
    return chosen


def epoch_size(store: Store, rows: TrainingRows, settings: LoaderSettings) -> tuple[int, int]:
    """Number of images and of batches in an epoch; a batch of one image does not count.

    Raises:
        UserError: There are fewer than two images.
    """
    if len(rows.ids) < 2:
        raise UserError(
            f"{store.folder}: {len(rows.ids)} images to train on; at least 2 are needed"
        )
    num_images = settings.images_per_epoch or len(rows.ids)
    full, rest = divmod(num_images, settings.batch_size)
    return num_images, full + (rest > 1)


@final
class TrainingLoader:
    """Batches of two views of the images of a store.

    The last batch of an epoch may be smaller; one of a single image is left out, since batch
    normalisation cannot use it. Where several processes train, the views are made of this one's
    share of a batch; labels and rows are those of the whole batch.

    Args:
        store: Where the crops are.
        rows: The images to train on, and the labels that may be seen.
        settings: Batches and views.
        mean, std: Per colour channel, for pixels in [0, 1].
        seed: Decides order and augmentation.

    Raises:
        UserError: An image is not in the store, or there are fewer than two.
    """

    def __init__(
        self,
        store: Store,
        rows: TrainingRows,
        settings: LoaderSettings,
        *,
        mean: Colour,
        std: Colour,
        seed: int,
    ) -> None:
        self.num_images, self.num_steps = epoch_size(store, rows, settings)
        self._steps = _Steps(self.num_steps)
        views = TrainingViews(settings.views, mean, std, seed)
        self._batches = DataLoader(
            _Batches(store, rows, settings, views, self.num_images, own_share()),
            batch_size=None,  # an item is a batch already
            sampler=self._steps,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            # Its own generator: starting an epoch must not move the training's random numbers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self.num_steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through an epoch, from batch ``start`` on."""
        self._steps.epoch, self._steps.start = epoch, start
        return iter(self._batches)


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
        share: Share,
    ) -> None:
        self.store = store
        self.labels = np.asarray(rows.labels, dtype=np.int64)
        self.places = store.rows(rows.ids)
        self.settings = settings
        self.views = views
        self.num_images = num_images
        self.share = share
        self.order: tuple[int, np.ndarray] = (-1, self.places[:0])  # of the epoch last asked for

    def __getitem__(self, name: tuple[int, int]) -> Batch:
        epoch, step = name
        if self.order[0] != epoch:
            sampling, seed = self.settings.sampling, self.views.seed
            drawn = epoch_order(self.labels, sampling, self.num_images, seed=seed, epoch=epoch)
            self.order = (epoch, drawn)
        first = step * self.settings.batch_size
        rows = self.order[1][first : first + self.settings.batch_size]
        own = self.share.rows(len(rows))
        crops = self.store.crops(self.places[rows[own]])
        views = self.views(crops, epoch, first + own.start)
        return Batch(views, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows.copy()))


def plain_batches(
    store: Store, ids: Sequence[str], view: PlainView, *, batch_size: int = 128
) -> Iterator[PlainBatch]:
    """Go through images of a store in the order of ``ids``, each once.

    Raises:
        UserError: An image is not in the store.
    """
    places = store.rows(ids)
    for first in range(0, len(places), batch_size):
        rows = places[first : first + batch_size]
        yield PlainBatch(view(store.crops(rows)), np.arange(first, first + len(rows)))
