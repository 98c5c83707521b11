"""What the parts of the measurement share: sizes, time, images, and the training under way."""

import gc
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.on_gpu import rates, roofline
from benchmarks.on_gpu.data import Images
from benchmarks.on_gpu.ours import Ours, Way
from benchmarks.on_gpu.rates import Rates
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.training.feed import DeviceFeed

_PLANNED = 540.0  # seconds that the parts are planned for


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    rows: int  # training images, and draws an epoch
    drawn: int  # images that differ
    side: int  # of a crop
    recipe: str
    overrides: tuple[str, ...]
    way: Way
    rates: rates.Size
    steps: int  # of a short measurement
    rounds: int  # of pairs with the plain implementation
    workers: int  # processes that read, on the CPU
    seeds: int  # of the comparison of accuracy
    accuracy: tuple[str, ...] = ()  # overrides of the recipe "tiny"
    per_class: int = 100  # images of lab a class, for the accuracy


FULL = Scale(
    rows=71_200,
    drawn=1_300,
    side=292,
    recipe="gpu",
    overrides=(),
    way=Way(),
    rates=rates.LARGE,
    steps=20,
    rounds=5,
    workers=min(16, os.cpu_count() or 1),
    seeds=3,
    per_class=160,
)
TOY = Scale(
    rows=100,
    drawn=13,
    side=36,
    recipe="gpu",
    overrides=(
        "backbone.name=tiny/trace8w16",
        "data.batch_size=16",
        "data.views.size=32",
        "data.views.crop_size=36",
    ),
    way=Way(precision="32-true", backend="aot_eager"),
    rates=rates.TOY,
    steps=2,
    rounds=1,
    workers=1,
    seeds=1,
    accuracy=("epochs=1", "warm_start.epochs=1", "data.images_per_epoch=64"),
    per_class=8,
)


class Bench:
    """State of a measurement.

    Args:
        scale: Sizes.
        folder: For images and runs.
        minutes: For everything together.
    """

    def __init__(self, scale: Scale, folder: Path, minutes: float) -> None:
        self.scale = scale
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.settings: RunSettings = load_settings(scale.recipe, None, scale.overrides)
        self.rates: Rates | None = None
        self.images: Images | None = None
        self.feed: DeviceFeed | None = None
        self.ours: Ours | None = None
        self.step = 0.0  # seconds of one of ours
        self.workers = min(scale.workers, self._room_for_workers())
        if scale.rows < 1000:
            torch.set_num_threads(1)  # toys are slowed by threads
        self._pace = 60 * minutes / _PLANNED
        self._until = time.perf_counter()
        self._end = self._until + 60 * minutes

    @property
    def batch(self) -> int:
        """Images a batch."""
        return self.settings.data.batch_size

    def allow(self, seconds: float) -> None:
        """Give the next part its time, and what the parts before it have left."""
        self._until += seconds * self._pace

    def left(self) -> float:
        """Seconds that the part under way still has."""
        return self._until - time.perf_counter()

    def left_of_all(self) -> float:
        """Seconds that all parts together still have."""
        return self._end - time.perf_counter()

    def _room_for_workers(self) -> int:
        """How many processes may have four batches each in the memory that processes share."""
        size = 2 * 12 * self.batch * self.settings.data.views.size**2
        shared = Path("/dev/shm")
        return max(1, shutil.disk_usage(shared).free // (4 * size)) if shared.exists() else 1

    def given_images(self) -> Images:
        """The images; an error where there are none."""
        if self.images is None:
            raise RuntimeError("there are no images: the part that draws them failed")
        return self.images

    def given_feed(self) -> DeviceFeed:
        """The feed, likewise."""
        if self.feed is None:
            raise RuntimeError("there is no feed: the part that makes it failed")
        return self.feed

    def given_ours(self) -> Ours:
        """Our training, likewise."""
        if self.ours is None:
            raise RuntimeError("there is no training: the part that makes it failed")
        return self.ours

    def work(self) -> roofline.Step:
        """What a step must do, at the least."""
        ours, size = self.given_ours(), self.settings.data.views.size
        half = self.scale.way.precision == "bf16-mixed"
        return roofline.count(ours.method, batch=self.batch, size=size, half=half)

    def tidy(self) -> None:
        """Give memory back between parts."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
