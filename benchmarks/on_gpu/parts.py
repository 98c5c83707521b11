"""The parts of the measurement, each of which fills some rows of the board."""

import os
import statistics
import time
import traceback
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from benchmarks.harness import number
from benchmarks.on_gpu import rates, tables
from benchmarks.on_gpu.accuracy import compare
from benchmarks.on_gpu.bench import Bench
from benchmarks.on_gpu.board import Board
from benchmarks.on_gpu.data import make
from benchmarks.on_gpu.ours import Ours, finish, make_feed
from benchmarks.on_gpu.plain import Plain
from owdfa.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from owdfa.loader import TrainingLoader
from owdfa.records.training import Batch
from owdfa.training.fast import algorithms
from owdfa.training.feed import StreamedCrops

_WARM_UP = 3  # steps


def device(bench: Bench, board: Board) -> None:
    """What the GPU is, and what it can do at its best."""
    if bench.device.type == "cuda":
        found = torch.cuda.get_device_properties(bench.device)
        memory = found.total_memory / 2**30
        board.note(f"{found.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    bench.rates = measured = rates.measure(bench.device, bench.scale.rates)
    board.set("copy", measured.copy / 1e9, "GB/s")
    board.set("link", measured.link / 1e9, "GB/s")
    board.set("bfloat16", measured.bfloat16 / 1e12, "TFLOP/s")
    board.set("float32", measured.float32 / 1e12, "TFLOP/s")


def images(bench: Bench, board: Board) -> None:
    """Draw the images."""
    scale = bench.scale
    bench.images = made = make(bench.folder, drawn=scale.drawn, rows=scale.rows, side=scale.side)
    speed = made.drawn / made.seconds
    board.set("draw", speed, "images/s", f"{made.drawn} drawn on {os.cpu_count()} cores")


def feeding(bench: Bench, board: Board) -> None:
    """Bring the crops to the GPU; how fast batches come, with nothing else going on."""
    made = bench.given_images()
    started = time.perf_counter()
    bench.feed = feed = make_feed(made, bench.settings, bench.device)
    finish(bench.device)
    seconds = time.perf_counter() - started
    size = made.store.pixels[0].nbytes * bench.scale.rows / 1e9
    board.set("load", seconds, "s", f"{size:.1f} GB")
    batch = next(feed.crops.batches(*_first(feed.num_images, bench.batch)))
    choices = feed.views.choose(0, 0, bench.batch)
    views = rates.median_seconds(lambda: feed.views(batch, choices), bench.device)
    board.set("views", 1e3 * views, "ms", f"{bench.batch} crops of {bench.scale.side} px")
    key = "resident" if feed.resident else "streamed"
    _deliver(bench, board, key, feed)
    if feed.resident:
        kept, feed.crops = feed.crops, streamed(bench)
        _deliver(bench, board, "streamed", feed)
        feed.crops = kept
    workers = {"workers": bench.workers, "views_on": "host"}
    settings = bench.settings.data.model_copy(update=workers)
    colours = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    loader = TrainingLoader(made.store, made.rows, settings, **colours, seed=0)
    _deliver(bench, board, "host", loader)


def ours(bench: Bench, board: Board) -> None:
    """Our training: the first step, some steps, a whole epoch."""
    scale, feed = bench.scale, bench.given_feed()
    with algorithms(same_bits=False):
        bench.ours = training = _warm(bench, board)
        batches = training.forever()
        _peak_from_now(bench)
        bench.step = _strict_steps(board, training, batches, scale.steps)
        waits = "none waits for the GPU" if training.strict else "some wait for the GPU"
        board.set("step", 1e3 * bench.step, "ms", f"mean of {scale.steps} steps; {waits}")
        if bench.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(bench.device) / 2**30
            board.set("memory", peak, "GiB", "the resident crops among them")
        tables.limit(bench, board)
        if 1.2 * bench.step * len(feed) > bench.left_of_all():
            board.note("an epoch would not have fitted into the time; it stands unmeasured")
            return
        seconds = training.epoch(1)
    board.set("epoch", seconds, "s", f"{feed.num_images:,} images, {len(feed)} steps")
    board.set("run", 50 * seconds / 60, "min", "50 times that epoch")


def _warm(bench: Bench, board: Board) -> Ours:
    """Our training after its first steps; without a compiler where that fails."""
    feed, way = bench.given_feed(), bench.scale.way
    try:
        training = Ours(feed, bench.settings, way)
        board.set("compile", training.warm_up(training.forever(), _WARM_UP), "s")
    except Exception as error:
        if not way.compiled:
            raise
        board.note(f"Compilation failed, all that follows is without: {error!r:.300}")
        training = Ours(feed, bench.settings, way._replace(compiled=False))
        training.warm_up(training.forever(), _WARM_UP)
    return training


def _strict_steps(board: Board, training: Ours, batches: Iterator[Batch], num: int) -> float:
    """Seconds of a step; where one waits, that is noted, and they are taken as they are."""
    try:
        return training.steps(batches, num) / num
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        place = [each for each in frames if "owdfa" in each.filename or "on_gpu" in each.filename][
            -1
        ]
        board.note(f"A step waits for the GPU, in {place.filename}:{place.lineno} ({place.line}).")
        training.strict = False
        return training.steps(batches, num) / num


def plain(bench: Bench, board: Board) -> None:
    """The plain implementation: its reading, its step, and its step and ours in turn."""
    training = bench.given_ours()
    theirs = Plain(bench.given_images(), bench.settings, bench.device, bench.workers)
    num = 2 * bench.workers
    reading = theirs.read(num) / num
    batch = theirs.batch()
    with algorithms(same_bits=False):
        batches = training.forever()
        theirs.steps(batch, 1)
        training.steps(batches, 1)
        pairs = []
        for _ in range(bench.scale.rounds):
            pairs.append((theirs.steps(batch, 3) / 3, training.steps(batches, 3) / 3))
            if bench.left() < 0:
                break
    step = statistics.median(old for old, _ in pairs)
    slower = max(step, reading)
    faces = "with HOG face detection" if theirs.detects else "without face detection, no dlib here"
    board.set("plain", 1e3 * step, "ms", "the GPU's part, its batch waiting there")
    board.set(
        "plain_epoch",
        slower * len(training.feed),
        "s",
        f"a step {number(1e3 * step)} ms, reading a batch {number(1e3 * reading)} ms on"
        f" {bench.workers} processes ({faces}), the slower counts",
    )
    ratios = sorted(max(old, reading) / new for old, new in pairs)
    alone = statistics.median(old / new for old, new in pairs)
    board.set(
        "ratio",
        statistics.median(ratios),
        "x",
        f"{number(ratios[0])} to {number(ratios[-1])}, n={len(ratios)};"
        f" {number(alone)}x for the GPU's part alone",
    )


def phases(bench: Bench, board: Board) -> None:
    """Where the time of a step goes, and what bounds each phase."""
    tables.phases(bench, board)
    tables.kernels(bench, board)


def others(bench: Bench, board: Board) -> None:
    """What each part of the speed is worth: the same step without it."""
    scale, training = bench.scale, bench.given_ours()
    feed = training.feed
    with algorithms(same_bits=False):
        kept, feed.crops = feed.crops, streamed(bench)
        _steps(bench, board, "step_streamed", training)
        feed.crops = kept
    bench.ours = training = None
    bench.tidy()
    for key, precision, same_bits in (
        ("step_plain_code", scale.way.precision, False),
        ("step_fp32", "32-true", False),
        ("step_same_bits", scale.way.precision, True),
    ):
        if bench.left() < 0:
            return
        way = scale.way._replace(precision=precision, compiled=False)
        with algorithms(same_bits=same_bits):
            without = Ours(feed, bench.settings, way)
            without.strict = False
            _steps(bench, board, key, without)
            del without
        bench.tidy()
    bench.feed = None


def enhancement(bench: Bench, board: Board) -> None:
    """The frequency enhancement alone, in orders of memory and with and without TF32."""
    tables.enhancement(bench, board)


def accuracy(bench: Bench, board: Board) -> None:
    """Both precisions to the end, on the small network and lab."""
    scale = bench.scale
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # fp32 shall be fp32
    try:
        found = compare(
            bench.folder,
            per_class=scale.per_class,
            seeds=scale.seeds,
            overrides=scale.accuracy,
            time_left=bench.left,
        )
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for precision, key in (("32-true", "accuracy_fp32"), ("bf16-mixed", "accuracy_bf16")):
        values = found[precision]
        spread = f"{min(values):.1f} to {max(values):.1f}, {len(values)} seeds, recipe tiny"
        board.set(key, statistics.mean(values), "%", spread)


def streamed(bench: Bench) -> StreamedCrops:
    """The crops of all rows, from the mapped store; it is in the host's memory by now."""
    made = bench.given_images()
    pixels, places = made.store.pixels.view(np.ndarray), made.store.rows(made.rows.ids)
    return StreamedCrops(pixels, places, bench.device)


def _steps(bench: Bench, board: Board, key: str, training: Ours) -> None:
    batches = training.forever()
    training.warm_up(batches, _WARM_UP)
    seconds = training.steps(batches, bench.scale.steps) / bench.scale.steps
    ratio = f"{seconds / bench.step:.2f} times ours" if bench.step else ""
    board.set(key, 1e3 * seconds, "ms", ratio)
    batches.close()


def _deliver(bench: Bench, board: Board, key: str, loader: object) -> None:
    """Images a second over some batches, after one that warms up."""
    num = bench.scale.steps
    batches = islice(loader.epoch(0), num + 1)  # type: ignore[attr-defined]
    next(batches)
    finish(bench.device)
    started = time.perf_counter()
    size = sum(len(batch.labels) for batch in batches)
    finish(bench.device)
    board.set(key, size / (time.perf_counter() - started), "images/s", f"{num} batches, two views")


def _first(num: int, size: int) -> tuple[np.ndarray, list[slice]]:
    return np.arange(num), [slice(0, size)]


def _peak_from_now(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
