"""Our training step, ready to be timed: network, optimiser, feed as ``owdfa train`` sets them up.

The loop body is that of ``owdfa.stages.train``; what is left out is the log, the only place where a
training waits for the device.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch

from benchmarks.on_gpu.data import NUM_KNOWN, Images
from owdfa.backbones.base import IMAGENET_MEAN, IMAGENET_STD, build
from owdfa.images.device_views import DeviceViews
from owdfa.records.training import Batch, Progress
from owdfa.runs.assembly import assemble
from owdfa.runs.computing import Precision
from owdfa.runs.settings import RunSettings
from owdfa.training.devices import seed_step
from owdfa.training.fabric import start
from owdfa.training.fast import arrange, compile_backbone
from owdfa.training.feed import DeviceFeed
from owdfa.training.meter import Meter
from owdfa.training.optimizers import build_optimizer, move_rows

PHASES = ("data", "forward", "backward", "optimiser")


class Way(NamedTuple):
    """How a training is set up."""

    precision: Precision = "bf16-mixed"
    compiled: bool = True
    backend: str = "inductor"  # of the compiler


def make_feed(images: Images, settings: RunSettings, device: torch.device) -> DeviceFeed:
    """The feed of a training; crops are resident where there is a GPU and they fit."""
    data = settings.data.model_copy(update={"device_share": 0.9})
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    views = DeviceViews(data.views, images.store.size, mean=mean, std=std, device=device)
    return DeviceFeed(images.store, images.rows, data, views, settings.seed)


class Ours:
    """A training that stands still until ``steps`` is called.

    Args:
        feed: Of its batches.
        settings: Of the run.
        way: How.
    """

    def __init__(self, feed: DeviceFeed, settings: RunSettings, way: Way) -> None:
        self.feed = feed
        self.fabric = start(feed.device.type, way.precision)
        self.device = self.fabric.device
        torch.manual_seed(settings.seed)
        backbone = build(settings.backbone.name, None)
        self.method = assemble(settings, NUM_KNOWN, backbone)
        self.fabric.to_device(self.method)
        arrange(self.method)
        if way.compiled:
            compile_backbone(self.method, settings.data.batch_size, way.backend)
        self.optimizer = build_optimizer(self.method, settings.optimiser)
        self.settings = settings
        self.strict = True  # whether a step that waits for the device is an error
        self.meter = Meter(0)
        # The last epoch but some: every term of the objective is at work.
        self.progress = Progress(settings.epochs - 2, settings.epochs)
        self.method.train()

    def forever(self) -> Iterator[Batch]:
        """Batches of one epoch after the other, whole ones only."""
        epoch = 0
        while True:
            for batch in self.feed.epoch(epoch):
                if len(batch.labels) == self.settings.data.batch_size:
                    yield batch
            epoch += 1

    def step(self, batch: Batch, number: int, marks: "Marks | None" = None) -> None:
        """One step, as in ``owdfa.stages.train``; ``marks`` are set between its phases."""
        seed_step(self.settings.seed, 0, number)
        with self.fabric.autocast():
            losses = self.method.losses(batch, self.progress)
        self.optimizer.zero_grad(set_to_none=True)
        _set(marks)
        self.fabric.backward(losses.total)
        _set(marks)
        self.optimizer.step()
        self.meter.add(losses, batch)

    def steps(self, batches: Iterator[Batch], num: int) -> float:
        """Take ``num`` steps; seconds of all, until the device is done.

        Raises:
            RuntimeError: A step waited for it, and ``strict`` is set.
        """
        finish(self.device)
        started = time.perf_counter()
        with self._watched():
            for number in range(num):
                self.step(next(batches), number)
        finish(self.device)
        seconds = time.perf_counter() - started
        self.meter.read()  # a term that is not finite ends the measurement here
        return seconds

    def warm_up(self, batches: Iterator[Batch], num: int) -> float:
        """Take steps that may wait: a compiler at work does; seconds of the first."""
        started = time.perf_counter()
        for number in range(num):
            self.step(next(batches), number)
            finish(self.device)
            first = time.perf_counter() - started if number == 0 else first
        self.meter.read()
        return first

    def epoch(self, epoch: int) -> float:
        """A whole epoch as ``owdfa train`` takes it, its log read every few steps; seconds."""
        finish(self.device)
        started = time.perf_counter()
        batches = self.feed.epoch(epoch)
        for number in range(1, len(self.feed) + 1):
            with self._watched():
                self.step(next(batches), number)
            if number % self.settings.log_every == 0:
                self.meter.read()
        for move in self.method.end_epoch(self.progress).moves:
            move_rows(self.optimizer, move)
        finish(self.device)
        seconds = time.perf_counter() - started
        self.meter = Meter(0)
        return seconds

    def _watched(self) -> AbstractContextManager[None]:
        return no_waiting(self.device) if self.strict else nullcontext()

    def phases(self, batches: Iterator[Batch], num: int) -> dict[str, float]:
        """Median seconds of the device in each phase of a step, between events."""
        marks = Marks(self.device)
        for number in range(num):
            marks.set()
            batch = next(batches)
            marks.set()
            self.step(batch, number, marks)
            marks.set()
        self.meter.read()
        return marks.medians(PHASES)


class Marks:
    """Moments on the device's own clock; on the CPU, on the host's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []

    def set(self) -> None:
        """Note this moment."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._events.append(event)
        else:
            self._times.append(time.perf_counter())

    def medians(self, names: tuple[str, ...]) -> dict[str, float]:
        """Seconds between the marks of a round, which begins and ends with one."""
        finish(self.device)
        size = len(names) + 1
        if self._events:
            first = self._events[0]
            self._times = [first.elapsed_time(event) / 1e3 for event in self._events]
        times = torch.tensor(self._times, dtype=torch.float64).view(-1, size).diff(dim=1)
        return dict(zip(names, times.median(dim=0).values.tolist(), strict=True))


def _set(marks: Marks | None) -> None:
    if marks is not None:
        marks.set()


def finish(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Let every operation fail that makes the host wait for the device."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
