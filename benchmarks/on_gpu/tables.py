"""Tables of the measurement: the limit, the phases of a step, its kernels, the enhancement."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.harness import number
from benchmarks.on_gpu import rates
from benchmarks.on_gpu.bench import Bench
from benchmarks.on_gpu.board import Board
from benchmarks.on_gpu.roofline import Work
from owdfa.layers import FrequencyEnhancement
from owdfa.training.fast import algorithms

_KINDS = {  # by what a kernel's name holds, the first that fits
    "compiled (norms, rectifiers, sums)": ("triton_",),
    "memory set and copied": ("memcpy", "memset"),
    "optimiser": ("multi_tensor_apply", "fusedadam", "fused_adam"),
    "convolutions and matrix products": (
        *("conv", "gemm", "cutlass", "xmma", "nvjet", "dgrad", "wgrad", "fprop", "cudnn_gemm"),
        *("sm80_", "sm90_", "implicit", "winograd"),
    ),
    "batch norm of torch": ("batch_norm", "bn_fw", "bn_bw", "batchnorm"),
    "gathering of crops": ("indexselect", "index_select", "gather", "scatter"),
    "other element by element": ("elementwise", "reduce", "softmax", "copy"),
}


def limit(bench: Bench, board: Board) -> None:
    """The least time of a step by the roofline, and how much of it is reached."""
    total = bench.work().total()
    moving, computing = total.seconds(_rates(bench), half=_half(bench))
    board.set("bytes", total.num_bytes / 1e9, "GB", f"{number(1e3 * moving)} ms at that bandwidth")
    flop = (total.matrix + total.plain) / 1e12
    board.set("flop", flop, "TFLOP", f"{number(1e3 * computing)} ms at those rates")
    least = moving + computing
    board.set("limit", 1e3 * least, "ms", "bytes / bandwidth + FLOP / rate")
    board.set("share", 100 * least / bench.step, "%", f"of {number(1e3 * bench.step)} ms")


def phases(bench: Bench, board: Board) -> None:
    """Time of the device in each phase, beside its least."""
    training, num = bench.given_ours(), bench.scale.steps
    with algorithms(same_bits=False):
        batches = training.forever()
        training.steps(batches, 1)
        found = training.phases(batches, num)
    work = bench.work()
    size, side = bench.settings.data.views.size, bench.scale.side
    data = Work(bench.batch * 3 * (side**2 + 2 * 4 * size**2))
    known = {**work._asdict(), "data": data}
    rows = []
    for name, seconds in found.items():
        moving, computing = known[name].seconds(_rates(bench), half=_half(bench))
        least = moving + computing
        bound = "bytes" if moving > computing else "matrix products"
        if least < seconds / 4:
            bound = "neither: many small kernels, or the host"
        rows.append([name, *_milliseconds(seconds, moving, computing, least), bound])
    head = ["phase", "ms", "bytes alone, ms", "FLOP alone, ms", "least, ms", "bound by"]
    title = f"Phases of a step, medians of {num} steps, between events of the device"
    board.table(title, head, rows)


def kernels(bench: Bench, board: Board) -> None:
    """Time of the device by kind of kernel, as torch's profiler sees it."""
    training, num = bench.given_ours(), min(5, bench.scale.steps)
    cuda = bench.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with algorithms(same_bits=False):
        batches = training.forever()
        training.steps(batches, 1)
        with torch.profiler.profile(activities=activities) as profile:
            training.steps(batches, num)
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profile.key_averages():
        if getattr(event, "is_user_annotation", False) or event.key.startswith(
            ("##", "Optimizer.")
        ):
            continue  # spans over kernels that are counted themselves
        micro = event.self_device_time_total if cuda else event.self_cpu_time_total
        times[_kind(event.key)] += micro / 1e3 / num
        calls[_kind(event.key)] += event.count
    rows = [
        [kind, number(ms), number(calls[kind] / num)] for kind, ms in times.most_common() if ms > 0
    ]
    where = "the GPU" if cuda else "the CPU"
    head = ["kernels", "ms a step", "launches a step"]
    board.table(f"Kernels of a step on {where}, torch.profiler over {num} steps", head, rows)


def enhancement(bench: Bench, board: Board) -> None:
    """Forward and backward of the frequency enhancement's attention, for one view of a batch."""
    size = bench.settings.data.views.size
    images = torch.randn(bench.batch, 3, size, size, device=bench.device)
    ffe = FrequencyEnhancement().to(bench.device)
    exact = _attention(ffe, images, plain=False, tf32=False)()
    rows = []
    for plain in (False, True):
        for tf32 in (False, True):
            work = _attention(ffe, images, plain=plain, tf32=tf32)
            with algorithms(same_bits=False):
                seconds = rates.median_seconds(work, bench.device, rounds=10)
            off = float((work() - exact).abs().max())
            order = "channels first" if plain else "as shipped"
            rows.append([order, "on" if tf32 else "off", number(1e3 * seconds), number(off)])
    head = ["mask's convolutions", "TF32", "forward + backward, ms", "attention off by"]
    title = f"Frequency enhancement alone, {bench.batch} images of {size} px, fp32"
    board.table(title, head, rows)


def _attention(
    ffe: FrequencyEnhancement, images: torch.Tensor, *, plain: bool, tf32: bool
) -> Callable[[], torch.Tensor]:
    """Forward and backward; gives the attention."""

    def in_order(spectrum: torch.Tensor) -> torch.Tensor:
        return nn.Sequential.forward(ffe.mask, spectrum)

    before = torch.backends.cudnn.allow_tf32

    def work() -> torch.Tensor:
        if plain:
            ffe.mask.forward = in_order  # type: ignore[method-assign]
        try:
            torch.backends.cudnn.allow_tf32 = tf32
            attention = ffe.attention(images)
            attention.sum().backward()
        finally:
            torch.backends.cudnn.allow_tf32 = before
            vars(ffe.mask).pop("forward", None)
        return attention.detach()

    return work


def _kind(name: str) -> str:
    lower = name.lower()
    fitting = (kind for kind, parts in _KINDS.items() if any(part in lower for part in parts))
    return next(fitting, "other")


def _milliseconds(*seconds: float) -> list[str]:
    return [number(1e3 * each) for each in seconds]


def _rates(bench: Bench) -> rates.Rates:
    if bench.rates is None:
        raise RuntimeError("the rates of the device are not known: the part 'device' failed")
    return bench.rates


def _half(bench: Bench) -> bool:
    return bench.scale.way.precision == "bf16-mixed"
