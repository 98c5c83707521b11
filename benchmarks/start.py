"""How long commands take to start.

    python -m benchmarks.start [--rounds 5] [--quick]

``owdfa --help`` beside an interpreter that does nothing; and ``owdfa train`` on a prepared store,
until the first training step stands in its log: imports, opening store and split, building the
network, the first batch, forward, backward, optimiser. The process is then killed. What it imports
is timed by itself.
"""

import argparse
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import RESULTS, Report, number
from owdfa.datasets.lab import LabSettings, draw
from owdfa.stages.prepare import prepare
from owdfa.stages.scan import scan
from owdfa.stages.split import SplitOptions, split

OWDFA = str(Path(sys.executable).with_name("owdfa"))
GOAL = 10.0  # seconds until the first batch
IMPORTS = [sys.executable, "-c", "import owdfa.stages.train"]
NETWORKS = {
    "tiny/trace8w16, 64 px": ["backbone.name=tiny/trace8w16"],
    "torchvision/resnet18, 64 px": ["backbone.name=torchvision/resnet18"],
}
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


class Took(NamedTuple):
    """What a process cost."""

    elapsed: float  # seconds
    processor: float  # seconds, on all cores


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="once, to see that it runs")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    report = Report("start", __doc__)
    rows = []

    def measure(what: str, work: Callable[[], Took]) -> float:
        took = [work() for _ in range(rounds)]
        elapsed = [each.elapsed for each in took]
        processor = statistics.median(each.processor for each in took)
        rows.append([what, statistics.median(elapsed), max(elapsed), processor])
        return statistics.median(elapsed)

    measure("python -c pass", lambda: run([sys.executable, "-c", "pass"]))
    measure("owdfa --help", lambda: run([OWDFA, "--help"]))
    imports = measure("importing what owdfa train needs", lambda: run(IMPORTS))
    with tempfile.TemporaryDirectory() as name:
        data = prepared(Path(name))
        for network, settings in list(NETWORKS.items())[: 1 if options.quick else None]:
            what = f"owdfa train, {network}: to its first step"
            took = measure(what, partial(first_step, data, Path(name), settings))
            met = "met" if took < GOAL else "not met"
            report.note(
                f"{network}: goal {GOAL:g} s {met}; imports are {imports / took:.0%} of it."
            )
    head = ["what", "median, s", "most, s", "processor, s"]
    report.table("From the start of a process", head, rows)
    report.table("What is imported for owdfa train", ["package", "s by itself", "share"], shares())
    report.note(
        f"Installed packages are {'' if compiled() else 'NOT '}compiled to bytecode. Without it,"
        " where Python may not write it either, every start compiles thousands of files anew, which"
        " is some three times as slow."
    )
    report.write(results)


def run(command: Sequence[str]) -> Took:
    """Cost of a command."""
    return watched(command, lambda: False)


def watched(command: Sequence[str], reached: Callable[[], bool]) -> Took:
    """Cost of a command until it ends, or until ``reached``; then it is killed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        found, status, usage = 0, 0, None
        while not found and not reached():
            found, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0.002)
        elapsed = time.perf_counter() - start
        if not found:
            process.kill()
            _, _, usage = os.wait4(process.pid, 0)
        process.returncode = status
        errors.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)}: {errors.read().decode()}")
    return Took(elapsed, usage.ru_utime + usage.ru_stime)


def prepared(folder: Path) -> Path:
    """A split of drawn images, with their store."""
    settings = LabSettings(images_per_method=12, real_images=48, size=64, frames_per_identity=1)
    draw(folder / "images", settings)
    manifest = folder / "images.parquet"
    scan(f"lab:{folder / 'images'}", manifest)
    prepare(manifest, folder / "store", size=64, jobs=1)
    split(manifest, folder / "split", options=SplitOptions(protocol="lab/p1"))
    return folder / "split"


def first_step(data: Path, folder: Path, settings: Sequence[str]) -> Took:
    """Cost from starting the command to the first line of its log."""
    output = Path(tempfile.mkdtemp(dir=folder))
    log = output / "run" / "log.jsonl"
    command = [OWDFA, "train", "--split", str(data), "-o", str(output / "run"), "--recipe", "tiny"]
    for setting in ("log_every=1", "warm_start.epochs=0", *settings):
        command += ["--set", setting]
    return watched(command, lambda: log.exists() and b"\n" in log.read_bytes())


def shares() -> list[list[str]]:
    """The packages that take longest to import."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *IMPORTS[1:]],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    took: Counter[str] = Counter()
    for microseconds, module in _IMPORT.findall(done.stderr):
        took[module.partition(".")[0]] += int(microseconds)
    total = took.total()
    rows = [[name, number(us / 1e6), f"{us / total:.0%}"] for name, us in took.most_common(10)]
    return [*rows, ["all", number(total / 1e6), "100%"]]


def compiled() -> bool:
    """Whether torch, for one, is there as bytecode."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    return Path(importlib.util.cache_from_source(str(found.origin))).exists()


if __name__ == "__main__":
    main()
