"""CAL at the size of OWDFA-40's first protocol on one GPU, against a plain implementation.

    python -m benchmarks.gpu [--toy] [--output FOLDER] [--parts rates step ...]

19 known classes, 190 prototypes, crops of 292 px, two views of 256 px, recipe ``cal-gpu``. Crops
are random numbers: what a step costs does not depend on what they show. Takes some five minutes.
Rows are written as they come, so that a run that is cut short leaves them; a part that fails leaves
a row that says so. ``--toy`` does all of it on the CPU at toy size, to show that it works.
"""

import argparse
import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.util import find_spec
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.baseline.cal import PlainTraining
from benchmarks.baseline.network import like
from benchmarks.baseline.reading import batches as plain_batches
from benchmarks.baseline.reading import frontal_faces
from benchmarks.drawn import Drawn, draw_data
from benchmarks.exactness import exactness
from benchmarks.harness import RESULTS, Report, number
from benchmarks.roofline import Rates, count_step
from owdfa.backbones.base import build
from owdfa.devices import algorithms, autocast, seed_step
from owdfa.images.store import Store
from owdfa.layers import FrequencyEnhancement, pool_cells
from owdfa.loading.batches import TrainingLoader
from owdfa.loading.views import TrainingViews
from owdfa.methods.cal import CAL
from owdfa.records.split import Split
from owdfa.records.training import Batch, Progress
from owdfa.runs.run import assemble
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.training.meter import Meter
from owdfa.training.optimize import compile_features, to_channels_last
from owdfa.training.optimizer import build_optimizer

_KNOWN, _CLASSES, _EPOCH = 19, 41, 71_200


class Scale(NamedTuple):
    """How large everything is."""

    crops: int  # in the store
    side: int  # of a crop
    changes: tuple[str, ...]  # of the recipe
    backend: str  # of the compiler
    gigabytes: float  # copied to measure the bandwidth
    matrix: int  # side of the products
    steps: int
    workers: tuple[int, ...]  # processes of the host loader; the last number trains
    file_sides: tuple[int, ...]  # of what the plain way reads
    small: tuple[str, ...]  # settings of the run that is killed


FULL = Scale(
    20_000, 292, ("compile=false",), "inductor", 4, 8192, 30, (8, 16, 12), (512, 1024),
    ("backbone.name=torchvision/resnet18", "data.views.size=256", "data.batch_size=32"),
)  # fmt: skip
_TINY = ("backbone.name=tiny/trace8w16", "data.views.size=32", "data.batch_size=16")
TOY = Scale(
    200, 36, ("compile=false", *_TINY, "data.views.crop_size=36"), "aot_eager", 0.001, 128, 2,
    (0, 2, 1), (96,), _TINY,
)  # fmt: skip


class Bench:
    """What the parts share."""

    def __init__(self, scale: Scale, folder: Path, report: Report) -> None:
        self.scale, self.folder, self.report = scale, folder, report
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.settings = self.load()
        self.size = self.settings.data.batch_size
        self.steps_an_epoch = _EPOCH / self.size
        self.rates: Rates | None = None
        self.compiles = True
        self.step = self.fed_step = 0.0  # seconds, with a resident batch and with the loader

    def load(self, *changes: str) -> RunSettings:
        """Settings of the recipe, with changes."""
        return load_settings("cal-gpu", None, [*self.scale.changes, *changes])

    @cached_property
    def data(self) -> Drawn:
        """The drawn data set, made when it is first asked for."""
        sizes = {"num_images": self.scale.crops, "side": self.scale.side}
        return draw_data(self.folder, **sizes, num_classes=_CLASSES, num_known=_KNOWN, noise=True)

    def fitting(self, workers: int) -> int:
        """At most so many processes as have room for three batches each in shared memory."""
        num_bytes = 2 * 3 * self.size * self.settings.data.views.size**2
        return min(workers, shutil.disk_usage("/dev/shm").free // (3 * num_bytes))

    def loader(self, workers: int) -> TrainingLoader:
        """Our loader, with so many processes."""
        changes = {"workers": workers, "images_per_epoch": _EPOCH}
        settings = self.settings.data.model_copy(update=changes)
        store, rows = Store.open(self.data.store), Split.read(self.data.split).training_rows()
        views = TrainingViews(CAL.views, settings.views, seed=0)
        return TrainingLoader(store, rows, settings, views, pin_memory=self.device.type == "cuda")

    def batch(self) -> Batch:
        """A batch that is on the device."""
        return next(self.loader(0).epoch(0)).to(self.device)

    def sync(self) -> float:
        """Wait until the device is done; the time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, work: Callable[[], object], rounds: int = 10) -> float:
        """Median time of a call, after three that warm up."""
        for _ in range(3):
            work()
        marks = [self.sync()]
        for _ in range(rounds):
            work()
            marks.append(self.sync())
        return statistics.median(np.diff(marks).tolist())

    def milliseconds(self, what: str, seconds: float, goal: float | None = None) -> None:
        """Keep a row."""
        value = f"{number(1e3 * seconds)} ms"
        reached = () if goal is None else (f"at most {goal:g} ms", 1e3 * seconds <= goal)
        self.report.add(what, value, *reached)


class Ours:
    """Our training, ready for a step; the loop body is that of ``owdfa.stages.train``."""

    def __init__(self, bench: Bench, *changes: str) -> None:
        self.bench, self.settings = bench, bench.load(*changes)
        torch.manual_seed(0)
        self.method = assemble(self.settings, _KNOWN, build(self.settings.backbone.name, None))
        self.method.to(bench.device).train()
        to_channels_last(self.method)
        if bench.compiles:
            size = self.settings.data.views.size
            compile_features(self.method, bench.size, size, bench.scale.backend)
        self.optimizer = build_optimizer(self.method, self.settings.optimiser)
        # An epoch in which every term of the objective counts.
        self.meter, self.progress = Meter(0), Progress(48, 50)

    def steps(self, batches: Iterator[Batch], num: int) -> float:
        """Mean seconds of a step."""
        device, started = self.bench.device, self.bench.sync()
        for number_, batch in enumerate(islice(batches, num)):
            seed_step(0, 0, number_)
            batch = batch.to(device)
            with autocast(device, self.settings.precision):
                images = [self.method.backbone.normalise(view) for view in batch.views]
                views = tuple(self.method.features(view) for view in images)
                losses = self.method.objective(views, batch.labels, self.progress)
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            self.optimizer.step()
            self.meter.add(losses, batch)
        return (self.bench.sync() - started) / num


def rates(bench: Bench) -> None:
    """What the device can do at its best."""
    device, scale = bench.device, bench.scale
    source = torch.ones(int(scale.gigabytes * 2**28), device=device)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / bench.seconds(lambda: target.copy_(source))
    found = []
    for side, kind in ((scale.matrix, torch.bfloat16), (scale.matrix // 2, torch.float32)):
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        found.append(2 * side**3 / bench.seconds(lambda a=a, b=b: a @ b))  # type: ignore[misc]
    bench.rates = Rates(copy, *found)
    values = (copy / 1e9, found[0] / 1e12, found[1] / 1e12)
    what = "copy within the device, read and written; matrix product in bf16; in fp32"
    bench.report.add(what, "{} GB/s; {} TFLOP/s; {} TFLOP/s".format(*map(number, values)))


def step(bench: Bench) -> None:
    """Our step: with a batch on the device, and fed by the host loader."""
    report, num = bench.report, bench.scale.steps
    training, resident = Ours(bench), repeat(bench.batch())
    what = "first step, compilation included"
    try:
        report.add(what, f"{number(training.steps(resident, 1))} s")
    except Exception as error:  # noqa: BLE001 - a step without compilation is worth knowing, too
        traceback.print_exc()
        report.add(what, f"failed, all that follows is without: {error!r:.200}")
        bench.compiles = False
        training = Ours(bench)
    training.steps(resident, 3)
    bench.step = training.steps(resident, num)
    what = f"a step, the batch on the device (mean of {num})"
    bench.milliseconds(what, bench.step, 70)
    if bench.rates:
        method = assemble(bench.settings, _KNOWN, build(bench.settings.backbone.name, None))
        work = count_step(method, batch=bench.size, size=bench.settings.data.views.size)
        moving, computing = work.seconds(bench.rates)
        share = (moving + computing) / bench.step
        report.add(
            "least time of a step by the roofline: bytes / bandwidth + FLOP / rate",
            f"{number(1e3 * (moving + computing))} ms ({number(work.num_bytes / 1e9)} GB,"
            f" {number((work.matrix + work.plain) / 1e12)} TFLOP)",
        )
        report.add("share of it reached", f"{share:.0%}", "at least 55%", share >= 0.55)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    batches = bench.loader(bench.fitting(bench.scale.workers[-1])).epoch(0)
    training.steps(batches, num // 3 + 1)
    bench.fed_step = training.steps(batches, 3 * num)
    bench.milliseconds(f"a step fed by the host loader (mean of {3 * num})", bench.fed_step)
    epoch = bench.fed_step * bench.steps_an_epoch
    what = "an epoch of 71,200 images, from these steps"
    report.add(what, f"{number(epoch)} s", "at most 40 s", epoch <= 40)
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(bench.device) / 2**30
        report.add("peak memory of the GPU", f"{number(peak)} GiB")
    training.meter.read()  # a term that is not finite ends the measurement here


def ffe(bench: Bench) -> None:
    """The frequency enhancement: its part of a step, and alone in variants."""
    training, resident = Ours(bench, "method.ffe=false"), repeat(bench.batch())
    training.steps(resident, 4)
    without = training.steps(resident, bench.scale.steps)
    bench.milliseconds("a step without FFE", without)
    if bench.step:
        share = 1 - without / bench.step
        bench.report.add("FFE's share", f"{share:.0%}", "less than a third", share < 1 / 3)
    images = training.method.backbone.normalise(next(resident).views[0])
    module = FrequencyEnhancement().to(bench.device)
    _set_tf32(convolutions=False, products=False)
    exact = _attention(module, images, last=True).detach()
    for last in (True, False):
        for compiled in (False, True):
            attend = torch.compile(_attention, backend=bench.scale.backend, dynamic=False)
            attend = attend if compiled else _attention
            found = []
            for convolutions, products in ((False, False), (True, False), (True, True)):
                _set_tf32(convolutions=convolutions, products=products)

                def both(attend: Callable[..., Tensor] = attend, last: bool = last) -> None:
                    attend(module, images, last=last).sum().backward()

                time_ = bench.seconds(both)
                off = float((attend(module, images, last=last) - exact).abs().max().detach())
                found.append(f"{number(1e3 * time_)} ms (off by {off:.0e})")
            _set_tf32(convolutions=True, products=False)  # torch's defaults
            how = "compiled" if compiled else "eager"
            order = "channels last" if last else "channels first"
            what = f"FFE of one view, forward and backward, {how}, {order}"
            what += ": fp32; convolutions in TF32; products as well"
            bench.report.add(what, "; ".join(found))


def _set_tf32(*, convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def _attention(module: FrequencyEnhancement, images: Tensor, *, last: bool) -> Tensor:
    """``FrequencyEnhancement.attention`` with the mask's convolutions in either memory format."""
    spectrum: Tensor = module.dct(images)
    order = torch.channels_last if last else torch.contiguous_format
    mask = module.mask(spectrum.contiguous(memory_format=order)).clamp(min=-50).sigmoid()
    heights = module.dct.inverse(mask * spectrum.mean(dim=1, keepdim=True))
    return pool_cells(heights.sigmoid(), module.cells)


def delivery(bench: Bench) -> None:
    """The host loader alone, beside what the device eats."""
    best = 0.0
    for workers in map(bench.fitting, bench.scale.workers):
        num = 2 * workers + bench.scale.steps
        batches = bench.loader(workers).epoch(0)
        for _ in range(2 * workers + 1):  # what lies ready
            next(batches)
        started = time.perf_counter()
        size = sum(len(batch.labels) for batch in islice(batches, num))
        speed = size / (time.perf_counter() - started)
        best = max(best, speed)
        what = f"batches of the host loader, {workers} processes"
        bench.report.add(what, f"{number(speed)} images/s")
        del batches
    if bench.step:
        eaten = bench.size / bench.step
        value = f"{number(best / eaten)}x of {number(eaten)} images/s"
        what = "the fastest loader over what a step takes"
        bench.report.add(what, value, "at least 2x", best >= 2 * eaten)


def plain(bench: Bench) -> None:
    """The plain implementation: its step on the device, its reading on the cores."""
    torch.manual_seed(0)
    method = assemble(bench.settings, _KNOWN, build(bench.settings.backbone.name, None))
    network, batch = like(method).to(bench.device).train(), bench.batch()  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, weight_decay=1e-3)
    training = PlainTraining(network, optimizer, _KNOWN, 50)
    views = [method.backbone.to(bench.device).normalise(view) for view in batch.views]
    work = lambda: training.step(*views, batch.labels, 48)  # noqa: E731
    taken = bench.seconds(work, max(2, bench.scale.steps // 3))
    bench.milliseconds("a step of the plain implementation, fp32 and torch's TF32", taken)
    _compare(bench, "the plain epoch over ours, its batches lying ready", taken)
    workers = len(os.sched_getaffinity(0))
    for side in bench.scale.file_sides:
        paths = list(islice(cycle(_files(bench.folder / f"files-{side}", side)), 64 * workers))
        for faces in (False, True):
            how = "with face detection at every read" if faces else "without face detection"
            what = f"the plain epoch over ours, files of {side} px read {how}"
            if faces and not find_spec("dlib"):
                bench.report.add(what, "not measured: no dlib here")
                continue
            size = min(8, bench.size)
            loader = plain_batches(
                paths, bench.settings.data.views.size, frontal_faces() if faces else None,
                batch_size=size, workers=workers,
            )  # fmt: skip
            reading = iter(loader)
            for _ in range(2 * workers):  # what lies ready
                next(reading)
            started = time.perf_counter()
            num = sum(len(weak) for weak, _ in islice(reading, 4 * workers))
            read = (time.perf_counter() - started) / num * bench.size
            _compare(bench, what, max(taken, read), 8 if faces else None)


def _files(folder: Path, side: int) -> list[Path]:
    """A few JPEG files of smooth noise: the search for a face costs by the number of pixels."""
    folder.mkdir()
    generator, paths = np.random.default_rng(0), [folder / f"{i}.jpg" for i in range(16)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def _compare(bench: Bench, what: str, plain_step: float, goal: float | None = None) -> None:
    if not bench.fed_step:
        return
    ratio, epoch = plain_step / bench.fed_step, plain_step * bench.steps_an_epoch
    value = f"{number(ratio)}x ({number(epoch)} s)"
    reached = () if goal is None else (f"at least {goal:g}x", ratio >= goal)
    bench.report.add(what, value, *reached)


PARTS: dict[str, Callable[[Bench], None]] = {
    **{part.__name__: part for part in (rates, step, delivery, plain, ffe)},
    "exactness": lambda bench: exactness(
        bench.folder, bench.report, bench.device, bench.scale.small
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Measure; return 1 when a part failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="on the CPU, at toy size")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the rows")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args(argv)
    if not options.toy and not torch.cuda.is_available():
        print("benchmarks.gpu: this machine has no GPU that torch can use; try --toy")
        return 2
    cuda = torch.cuda.is_available()
    report = Report("gpu", options.output, torch.cuda.get_device_name() if cuda else "toy")
    failed = False
    with tempfile.TemporaryDirectory() as folder, algorithms(deterministic=False):
        bench = Bench(TOY if options.toy else FULL, Path(folder), report)
        for name in options.parts:
            started = time.perf_counter()
            try:
                PARTS[name](bench)
            except Exception as error:  # noqa: BLE001 - the other parts' rows are worth having
                traceback.print_exc()
                report.add(f"part {name}", f"failed: {error!r:.200}")
                failed = True
            gc.collect()
            torch.cuda.empty_cache()
            print(f"== {name}: {time.perf_counter() - started:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
