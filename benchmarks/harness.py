"""Time two ways of doing the same thing in turn, keep what was measured, and write the page.

A machine that others use changes its speed from minute to minute. Both ways therefore run in
pairs, one right after the other, and what counts is the median of the ratios within the pairs.
"""

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).with_name("RESULTS.md")
TITLES = {
    "delivery": "Batches from the store, against decoding and cropping at every read",
    "step": "A training step of CAL on a CPU",
    "predict": "Prediction on a CPU",
    "memory": "Peak memory of a stage, imports included",
    "video": "Verdicts of a video on a CPU, dlib on every fifth frame, start to end",
    "verdicts": "Verdicts: what they promise, and what they cost",
    "serve": "`owdfa serve`: eight clients, a worker killed every 20 s",
    "continual-cal": "Three rounds of types on lab: CAL continued, and trained anew",
    "continual-supervised": "Three rounds of types on lab: supervised, continued and trained anew",
    "cluster": "Bulk prediction on a Ray cluster: two workers against one",
    "cluster-memory": "Bulk prediction on a Ray cluster: a long list",
    "gpu": "CAL at full size on one GPU: ResNet-50, 256 px, batches of 128, 71,200 images an epoch",
}
OPENING = """# What things cost

Written by `make bench`, and by `python -m benchmarks --render` without measuring; do not edit.

*Plain* is `benchmarks/baseline/`: what the published releases do, written straight from the papers.
Both ways run in turn, in one run; times are medians, a ratio is the median of the ratios within the
pairs, with its range. Other machines differ, and some of these were shared with other work: trust
ratios more than times.
"""


def number(value: float) -> str:
    """Write with three significant digits."""
    if value == 0 or not 0.001 <= abs(value) < 10_000_000:
        return f"{value:.3g}"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:,.{digits}f}"


def seconds(work: Callable[[], object]) -> float:
    """Elapsed time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pairs(
    plain: Callable[[], object], ours: Callable[[], object], rounds: int = 7
) -> tuple[list[float], list[float]]:
    """Seconds of both, in turn, ``rounds`` times; a first pair warms up and is not counted."""
    times = [(seconds(plain), seconds(ours)) for _ in range(rounds + 1)][1:]
    return [old for old, _ in times], [new for _, new in times]


@contextmanager
def elsewhere(
    make: Callable[..., Callable[[], object]], *arguments: object
) -> Iterator[Callable[[], None]]:
    """What ``make(*arguments)`` returns, to be called here and run in a process of its own.

    For work that changes its process: how that keeps memory, or how many threads it has.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments))
    process.start()
    there.close()

    def call() -> None:
        here.send(True)
        here.recv()

    try:
        yield call
    finally:
        if process.is_alive():
            here.send(False)
        process.join()


def _serve(
    pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple[object, ...]
) -> None:
    work = make(*arguments)
    while pipe.recv():
        work()
        pipe.send(None)


class Report:
    """The rows that one module measured on one machine; written after each.

    Args:
        topic: Name of the module.
        folder: Where ``<topic>.<machine>.json`` is written.
        machine: What was measured on; None for this machine's processor and cores.
    """

    def __init__(self, topic: str, folder: Path = RESULTS, machine: str | None = None) -> None:
        self.machine = machine or f"{_processor()}, {len(os.sched_getaffinity(0))} cores"
        slug = re.sub(r"[^a-z0-9]+", "-", self.machine.lower()).strip("-")
        self.path = folder / f"{topic}.{slug}.json"
        self.topic = topic
        self.rows: list[dict[str, str]] = []

    def add(self, what: str, value: str, goal: str = "", reached: bool | None = None) -> None:
        """Keep a row, and whether its goal was reached."""
        if reached is not None:
            value += ", met" if reached else ", not met"
        self.rows.append({"what": what, "value": value, "goal": goal})
        print(f"{what}: {value}{goal and f' (goal: {goal})'}", flush=True)
        content = {
            "topic": self.topic,
            "machine": self.machine,
            "details": f"{datetime.now(UTC).date()}; {_versions()}; load {os.getloadavg()[0]:.1f}",
            "rows": self.rows,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content, indent=1) + "\n")

    def compare(
        self,
        what: str,
        unit: str,
        times: tuple[Sequence[float], Sequence[float]],
        goal: float | None = None,
    ) -> None:
        """Keep a row of times, plain and ours, pair by pair; ``goal`` is the least ratio."""
        ratios = sorted(old / new for old, new in zip(*times, strict=True))
        ratio = statistics.median(ratios)
        plain, ours = (number(statistics.median(each)) for each in times)
        spread = f"{number(ratios[0])} to {number(ratios[-1])}, n={len(ratios)}"
        value = f"plain {plain}, ours {ours} {unit}: **{number(ratio)}x** ({spread})"
        self.add(what, value, *(() if goal is None else (f"at least {goal:g}x", ratio >= goal)))


def render(folder: Path = RESULTS, page: Path = PAGE) -> Path:
    """Write the page from what was measured: a table a topic, a column a machine."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    topics = [topic for topic in TITLES if any(each["topic"] == topic for each in found)]
    sections = [
        "\n".join(_section(topic, [each for each in found if each["topic"] == topic]))
        for topic in topics
    ]
    page.write_text("\n".join([OPENING, *sections]))
    return page


def _section(topic: str, results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"## {TITLES[topic]}\n\n`python -m benchmarks.{topic.partition('-')[0]}`\n"
    machines = [each["machine"] for each in results]
    yield f"| what | goal | {' | '.join(machines)} |"
    yield "|---|---|" + "---|" * len(machines)
    rows: dict[str, tuple[str, dict[str, str]]] = {}
    for each in results:
        for row in each["rows"]:
            rows.setdefault(row["what"], (row["goal"], {}))[1][each["machine"]] = row["value"]
    for what, (goal, values) in rows.items():
        yield f"| {what} | {goal} | {' | '.join(values.get(name, '') for name in machines)} |"
    yield ""
    yield from (f"* {each['machine']}: {each['details']}." for each in results)
    yield ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{memory:.0f} GiB; Python {platform.python_version()}, {packages}"
