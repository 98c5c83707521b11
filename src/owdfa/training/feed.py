"""Training batches that are made on the device: crops in its memory, views made there.

The same images in the same order and the same views as ``owdfa.loader.TrainingLoader`` gives. Where
the crops of all training images fit into the device's memory they are brought there once;
otherwise a thread gathers the crops of the coming batches into page-locked memory, from where they
travel while the device computes. In neither case does a step wait for the device.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor

from owdfa.backbones.base import Backbone
from owdfa.distributed import Share, own_share
from owdfa.errors import UserError
from owdfa.images.device_views import DeviceViews, send
from owdfa.images.store import Store
from owdfa.loader import LoaderSettings, TrainingLoader, epoch_order, epoch_size
from owdfa.records.split import TrainingRows
from owdfa.records.training import Batch
from owdfa.runs.settings import RunSettings

_DEPTH = 3  # batches that are gathered ahead
_CHUNK = 512  # crops that go to the device at once, before the first epoch
_PATIENCE = 0.1  # seconds between two looks at whether anybody still wants batches


class Crops(Protocol):
    """Where the crops of a feed come from."""

    def batches(self, order: np.ndarray, spans: Sequence[slice]) -> Iterator[Tensor]:
        """Give the crops of each batch: (B, S, S, 3) uint8, on the device.

        Args:
            order: (num_images,) int64: rows of the training table.
            spans: Which of them make up each batch.
        """
        ...


def build_loader(
    store: Store,
    rows: TrainingRows,
    settings: RunSettings,
    backbone: Backbone,
    device: torch.device,
) -> "TrainingLoader | DeviceFeed":
    """The batches of a training, from where ``data.views_on`` says.

    Args:
        store: Where the crops are.
        rows: The images to train on, and the labels that may be seen.
        settings: Of the run.
        backbone: Says how its images are normalised.
        device: That of the training.

    Raises:
        UserError: As the two classes.
    """
    data, mean, std = settings.data, backbone.mean, backbone.std
    if data.views_on == "host":
        return TrainingLoader(store, rows, data, mean=mean, std=std, seed=settings.seed)
    views = DeviceViews(data.views, store.size, mean=mean, std=std, device=device)
    return DeviceFeed(store, rows, data, views, settings.seed)


@final
class DeviceFeed:
    """Batches of two views, made on the device; takes the place of a ``TrainingLoader``.

    In several processes, the views are those of the process's own share of a batch; labels and rows
    are those of the whole batch.

    Args:
        store: Where the crops are.
        rows: The images to train on, and the labels that may be seen.
        settings: Batches.
        views: Makes the views, on the device.
        seed: Decides order and augmentation.

    Raises:
        UserError: An image is not in the store, there are fewer than two, or the settings ask for
            processes that make batches.
    """

    def __init__(
        self,
        store: Store,
        rows: TrainingRows,
        settings: LoaderSettings,
        views: DeviceViews,
        seed: int,
    ) -> None:
        self.num_images, self.num_steps = epoch_size(store, rows, settings)
        if settings.workers:
            raise UserError(
                "data.workers: no process makes batches where data.views_on is device; set it to 0"
            )
        self.settings = settings
        self.views = views
        self.seed = seed
        self.share = own_share()
        self.device = device = views.device
        self.labels = np.asarray(rows.labels, dtype=np.int64)
        pixels, places = store.pixels.view(np.ndarray), store.rows(rows.ids)
        self.resident = fits(len(places) * pixels[0].nbytes, device, settings.device_share)
        kind = ResidentCrops if self.resident else StreamedCrops
        self.crops: Crops = kind(pixels, places, device)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self.num_steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through an epoch, from batch ``start`` on."""
        sampling, size = self.settings.sampling, self.settings.batch_size
        order = epoch_order(self.labels, sampling, self.num_images, seed=self.seed, epoch=epoch)
        choices = self.views.choose(self.seed, epoch, self.num_images)
        rows, labels = send(order, self.device), send(self.labels[order], self.device)
        firsts = range(start * size, self.num_steps * size, size)
        whole = [slice(first, min(first + size, self.num_images)) for first in firsts]
        own = [_part(span, self.share) for span in whole]
        for pixels, here, span in zip(self.crops.batches(order, own), own, whole, strict=True):
            yield Batch(self.views(pixels, choices.part(here)), labels[span], rows[span])


def _part(span: slice, share: Share) -> slice:
    """The share of ``span``."""
    rows = share.rows(span.stop - span.start)
    return slice(span.start + rows.start, span.start + rows.stop)


def fits(num_bytes: int, device: torch.device, share: float) -> bool:
    """Whether crops may stay in the device's memory: they take at most ``share`` of what is free.

    The rest is for the training. On the CPU the answer is no: the store is mapped into its memory.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= share * free


@final
class ResidentCrops:
    """All crops of the training in the device's memory.

    Args:
        pixels: (M, S, S, 3) uint8, of the store.
        places: (N,) int64: rows of ``pixels``, one a row of the training table.
        device: Where they shall be.
    """

    def __init__(self, pixels: np.ndarray, places: np.ndarray, device: torch.device) -> None:
        self.pixels = torch.empty(len(places), *pixels.shape[1:], dtype=torch.uint8, device=device)
        for first in range(0, len(places), _CHUNK):
            chunk = torch.from_numpy(pixels[places[first : first + _CHUNK]])
            self.pixels[first : first + _CHUNK].copy_(chunk)

    def batches(self, order: np.ndarray, spans: Sequence[slice]) -> Iterator[Tensor]:
        """Gather each batch on the device."""
        rows = send(order, self.pixels.device)
        for span in spans:
            yield self.pixels.index_select(0, rows[span])


@final
class StreamedCrops:
    """Crops that come from the mapped store, a few batches ahead; see :class:`ResidentCrops`."""

    def __init__(self, pixels: np.ndarray, places: np.ndarray, device: torch.device) -> None:
        self.pixels = pixels
        self.places = places
        self.device = device
        cuda = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if cuda else None
        self._slots: list[_Slot] = []

    def batches(self, order: np.ndarray, spans: Sequence[slice]) -> Iterator[Tensor]:
        """Hand over each batch once it is there, or will be before the device reads it."""
        ready: Queue[_Sent | Exception | None] = Queue(_DEPTH)
        nobody = Event()
        self._make_slots(max((span.stop - span.start for span in spans), default=0))
        batches = [order[span] for span in spans]
        filler = Thread(target=self._fill, args=(batches, ready, nobody), daemon=True)
        filler.start()
        try:
            while (sent := ready.get()) is not None:
                if isinstance(sent, Exception):
                    raise sent
                yield sent.received()
        finally:
            nobody.set()
            filler.join()

    def _make_slots(self, most: int) -> None:
        if self._slots and len(self._slots[0].memory) >= most:
            return
        shape, pinned = (most, *self.pixels.shape[1:]), self.stream is not None
        self._slots = [
            _Slot(torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)) for _ in range(_DEPTH)
        ]

    def _fill(
        self,
        batches: Sequence[np.ndarray],
        ready: "Queue[_Sent | Exception | None]",
        nobody: Event,
    ) -> None:
        """Work of the thread: every batch into a slot, and from there on its way."""
        try:
            for number, rows in enumerate(batches):
                slot = self._slots[number % _DEPTH]
                if not _put(ready, self._send(slot, self.places[rows]), nobody):
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is, the training must hear of it
            _put(ready, error, nobody)
            return
        _put(ready, None, nobody)

    def _send(self, slot: "_Slot", rows: np.ndarray) -> "_Sent":
        if slot.left is not None:
            slot.left.synchronize()  # what was in it is on the device
        memory = slot.memory[: len(rows)]
        # "clip" writes to the slot at once; the rows were checked when the store was asked.
        np.take(self.pixels, rows, axis=0, out=memory.numpy(), mode="clip")
        with _on(self.stream):
            pixels = memory.to(self.device, non_blocking=True, copy=True)
        if self.stream is not None:
            slot.left = self.stream.record_event()
        return _Sent(pixels, slot.left)


@dataclass
class _Slot:
    """Memory on the host that holds one batch at a time."""

    memory: Tensor  # (batch_size, S, S, 3) uint8, page-locked where there is a GPU
    left: torch.cuda.Event | None = None  # when its last batch had been copied


@dataclass(frozen=True)
class _Sent:
    """A batch on its way to the device."""

    pixels: Tensor
    arrived: torch.cuda.Event | None

    def received(self) -> Tensor:
        """The batch; work that is queued from now on waits for it, the caller does not."""
        if self.arrived is not None:
            current = torch.cuda.current_stream(self.pixels.device)
            current.wait_event(self.arrived)
            self.pixels.record_stream(current)  # its memory is not given away before
        return self.pixels


def _on(stream: "torch.cuda.Stream | None") -> AbstractContextManager[object]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def _put(
    ready: "Queue[_Sent | Exception | None]", item: _Sent | Exception | None, nobody: Event
) -> bool:
    """Put ``item`` into the queue; False when nobody wants it any more."""
    while not nobody.is_set():
        try:
            ready.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False
