"""``owdfa serve`` under load, while its workers are killed, beside ``owdfa predict``.

    python -m benchmarks.serve RUN [--seconds 300] [--clients 8] [--kill 20] [--photos FOLDER]

Clients send images of mixed sizes, some at a time, and wait for their verdicts. One worker is
killed every ``--kill`` seconds. RUN is one that was calibrated. ``owdfa predict`` and ``attribute``
of the same files run before and after; the time that they take to start is not counted.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, number
from benchmarks.predict import command, write_files
from owdfa.case import Case
from owdfa.case.lines import ATTRIBUTED

_SIZES = ((96, 60), (256, 60), (768, 40), (2000, 10))  # side in pixels, and number of files
_MOST = 12  # files of a request
_BOUNDARY = "between-two-files"


@dataclass
class Load:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)  # of requests
    num_files: int = 0  # with a verdict
    acknowledged: dict[str, int] = field(default_factory=dict)  # files by job
    problems: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # bytes of all processes, a sample a second
    num_killed: int = 0

    def note(self, status: int, told: Any, taken: float) -> None:
        """Note an answer."""
        if status not in (200, 202):
            self.problems.append(f"{status}: {told}")
            return
        job = told["job"] if status == 200 else told
        self.acknowledged[job["id"]] = job["num_files"]
        self.num_files += job["num_done"]
        self.seconds.append(taken)


class Server:
    """A server in a process of its own."""

    def __init__(self, run: Path, case: Path) -> None:
        given = [sys.executable, "-m", "owdfa", "serve", run, "--case", case, "--port", "0"]
        self.process = subprocess.Popen(list(map(str, given)), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address = self.process.stdout.readline().split("http://")[1]
        self.host, _, port = address.split("/")[0].partition(":")
        self.port = int(port)

    def ask(self, link: HTTPConnection, method: str, path: str, body: bytes = b"") -> Any:
        """Status of an answer, and what it holds."""
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"} if body else {}
        link.request(method, path, body or None, kind)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())

    def connect(self) -> "closing[HTTPConnection]":
        """A connection of its own."""
        return closing(HTTPConnection(self.host, self.port, timeout=300))

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def memory(self) -> int:
        """Bytes of all its processes; what they share is counted once."""
        return sum(map(_proportional, [self.process.pid, *self.workers()]))


def main(argv: Sequence[str] | None = None, report: Report | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill", type=float, default=20, help="seconds between two kills")
    parser.add_argument("--photos", type=Path, help="a folder of images to send")
    options = parser.parse_args(argv)
    report = report or Report("serve")
    with tempfile.TemporaryDirectory() as name:
        photos = options.photos or write_photos(Path(name, "photos"))
        files = [path for path in sorted(photos.rglob("*")) if path.is_file()]
        before = rates(options.run, files, Path(name))
        with serving(options.run, Path(name, "case")) as server:
            load, length = press(server, files, options)
            states = wait_for_all(server, load)
        after = rates(options.run, files, Path(name))
        tags = noted(Path(name, "case"))
        tell(report, load, length, (before, after))
        tell_lost(report, load, states, tags)


def write_photos(folder: Path) -> Path:
    """JPEG files of smooth noise, of mixed sizes."""
    folder.mkdir()
    for side, count in _SIZES:
        write_files(folder / str(side), count, side)
    return folder


def rates(run: Path, files: Sequence[Path], folder: Path) -> dict[str, float]:
    """Files a second of two commands, without the time that they take to start."""
    found = {}
    for name, output in (("predict", folder / "predicted.parquet"), ("attribute", folder / "said")):
        times = []
        for some in (files[:1], files):
            place = folder / "copies"
            place.mkdir()
            for turn, path in enumerate(some):
                shutil.copyfile(path, place / f"{turn:05}{path.suffix}")
            start = time.perf_counter()
            command("owdfa", name, run, place, "-o", output)
            times.append(time.perf_counter() - start)
            shutil.rmtree(place)
        shutil.rmtree(folder / "said", ignore_errors=True)
        found[name] = (len(files) - 1) / (times[1] - times[0])
    return found


@contextmanager
def serving(run: Path, case: Path) -> Iterator[Server]:
    """A server whose workers are ready."""
    server = Server(run, case)
    try:
        with server.connect() as link:
            server.ask(link, "GET", "/v1/types")
        yield server
    finally:
        server.process.send_signal(signal.SIGINT)
        server.process.communicate()


def press(server: Server, files: Sequence[Path], options: argparse.Namespace) -> tuple[Load, float]:
    """Let clients send files, and kill workers; return what they saw, and for how long."""
    contents, load, lock = [path.read_bytes() for path in files], Load(), threading.Lock()
    start = time.monotonic()
    until = start + options.seconds
    clients = [
        threading.Thread(target=client, args=(server, contents, load, lock, until, seed))
        for seed in range(options.clients)
    ]
    for each in clients:
        each.start()
    draw, next_kill = random.Random(0), start + options.kill
    while any(each.is_alive() for each in clients):
        time.sleep(min(1.0, options.kill / 2))
        if time.monotonic() < until:
            load.memory.append(server.memory())
            if time.monotonic() > next_kill and (workers := server.workers()):
                os.kill(draw.choice(workers), signal.SIGKILL)
                load.num_killed += 1
                next_kill += options.kill
    return load, time.monotonic() - start


def client(
    server: Server, contents: Sequence[bytes], load: Load, lock: Any, until: float, seed: int
) -> None:
    """Send some files, wait for their verdicts, and again."""
    draw = random.Random(seed)
    with server.connect() as link:
        while time.monotonic() < until:
            some = draw.choices(contents, k=draw.randint(1, _MOST))
            start = time.perf_counter()
            status, told = server.ask(link, "POST", "/v1/attribute?wait=120", form(some))
            with lock:
                load.note(status, told, time.perf_counter() - start)


def form(contents: Sequence[bytes]) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="{{}}.jpg"\r\n\r\n'
    parts = [head.format(n).encode() + content for n, content in enumerate(contents)]
    return b"\r\n".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def wait_for_all(server: Server, load: Load) -> Counter[str]:
    """States of all files that were acknowledged, once their jobs have ended."""
    states: Counter[str] = Counter()
    with server.connect() as link:
        for job in load.acknowledged:
            while True:
                _, found = server.ask(link, "GET", f"/v1/jobs/{job}")
                if found["state"] in ("done", "failed"):
                    break
                time.sleep(0.1)
            states.update(each["state"] for each in found["files"])
    return states


def noted(case: Path) -> Counter[str]:
    """How often the journal has each file of each job."""
    commands = (e.data["command"] for e in Case.open(case).entries if e.what == ATTRIBUTED)
    return Counter(word for each in commands for word in each.split() if word.startswith("job:"))


def tell(report: Report, load: Load, length: float, others: tuple[dict[str, float], ...]) -> None:
    taken = sorted(load.seconds)
    p50, p95 = (taken[int(share * (len(taken) - 1))] for share in (0.5, 0.95))
    report.add("a request of 1 to 12 files, median and 95 %", f"{number(p50)} and {number(p95)} s")
    rate = load.num_files / length
    for name in ("predict", "attribute"):
        best = statistics.mean(each[name] for each in others)
        value = f"{number(rate)} files/s, {name} {number(best)}: **{number(rate / best)}**"
        report.add(f"throughput, beside owdfa {name}", value, "at least 0.8", rate / best >= 0.8)
    part = max(len(load.memory) // 10, 1)
    first, last = (
        statistics.median(x) / 2**20
        for x in (load.memory[part : 2 * part + 1], load.memory[-part:])
    )
    grown = last - first
    report.add(
        "memory of all processes, at the start and at the end",
        f"{first:.0f} and {last:.0f} MiB after {load.num_files:,} files",
        "flat: at most a tenth more", grown <= first / 10,
    )  # fmt: skip


def tell_lost(report: Report, load: Load, states: Counter[str], tags: Counter[str]) -> None:
    wanted = [f"job:{job}/{n}" for job, num in load.acknowledged.items() for n in range(num)]
    lost = sum(not tags[tag] for tag in wanted) + states.total() - states["done"]
    twice = sum(count > 1 for count in tags.values())
    value = f"{lost} lost, {twice} twice of {len(wanted):,}; {load.num_killed} workers killed"
    report.add("files that were acknowledged", value, "0 lost", not lost and not twice)
    for each in load.problems[:3]:
        print(f"refused: {each}")
    report.add(
        "requests refused", f"{len(load.problems)} of {len(load.seconds)}", "0", not load.problems
    )


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
