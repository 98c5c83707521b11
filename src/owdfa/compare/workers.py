"""Who runs the cells: processes on this machine, or a Ray cluster. The function is the same.

A cell whose process was killed is tried again and goes on where it was; one that ends with an error
of its own is not, and does not stop the others.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from owdfa.cluster import connect
from owdfa.compare.cell import run_cell
from owdfa.compare.grid import Cell
from owdfa.errors import UserError
from owdfa.runs.lock import lock_environment
from owdfa.training.launch import launcher_environment

NUM_ATTEMPTS = 4  # of a cell whose process is killed
LOG = "cell.log"
_USER_ERROR = 2  # exit status
_ERROR_WIDTH = 300  # characters of a reason

OnCell = Callable[
    [Cell, str | None], None
]  # a cell has ended; why it failed, None where it is done


class Local(NamedTuple):
    """Processes on this machine.

    Attributes:
        num: How many cells run side by side; each has its share of the cores.
    """

    num: int

    @classmethod
    def of(cls, jobs: int) -> "Local":
        """So many cells side by side; 0 for one for every two cores.

        Raises:
            UserError: It is less than 0.
        """
        if jobs < 0:
            raise UserError(f"--jobs {jobs}: write how many side by side, or 0")
        return cls(jobs or max(1, (os.cpu_count() or 1) // 2))

    def run(self, root: Path, cells: Sequence[Cell], on_cell: OnCell) -> None:
        """Run cells, in order as far as that goes; return when all have ended."""
        alive: set[subprocess.Popen[bytes]] = set()
        with ThreadPoolExecutor(self.num) as pool:
            futures: dict[Future[str | None], Cell] = {
                pool.submit(self._run_one, root, cell, alive): cell for cell in cells
            }
            try:
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for each in done:
                        on_cell(futures[each], each.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(alive):
                    process.kill()
                raise

    def _run_one(self, root: Path, cell: Cell, alive: set[subprocess.Popen[bytes]]) -> str | None:
        """Run a cell; give the reason where it fails."""
        threads = max(1, (os.cpu_count() or 1) // self.num)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            **lock_environment(),
            **launcher_environment(),
        }
        log = root / cell.folder / LOG
        command = [sys.executable, "-m", "owdfa", "compare-cell", str(root), cell.folder]
        for _ in range(NUM_ATTEMPTS):
            with log.open("wb") as stream:
                process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            alive.add(process)
            status = process.wait()
            alive.discard(process)
            if status == 0:
                return None
            if status > 0:  # its own doing: trying again would not help
                return _reason(log, status)
        return f"its process was killed {NUM_ATTEMPTS} times (out of memory?); see {log}"


class Cluster(NamedTuple):
    """A Ray cluster whose machines share the folder of the comparison.

    Attributes:
        address: Of the cluster; ``"auto"`` for a local one, of this machine's cores.
        num_cpus: Cores for a cell.
        num_gpus: GPUs for a cell; may be a share.
    """

    address: str
    num_cpus: float = 1
    num_gpus: float = 0

    def run(self, root: Path, cells: Sequence[Cell], on_cell: OnCell) -> None:
        """Run cells; return when all have ended."""
        with connect(self.address) as ray:
            remote = ray.remote(
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
                max_calls=1,  # a process of its own: its peak of memory is that of the cell
                max_retries=NUM_ATTEMPTS - 1,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, int(self.num_cpus)))}},
            )(run_cell)
            pending = {remote.remote(root.absolute(), cell.folder): cell for cell in cells}
            try:
                while pending:
                    done, _ = ray.wait(list(pending), num_returns=1)
                    for each in done:
                        on_cell(pending.pop(each), _failure(ray, each))
            finally:
                for each in pending:
                    with suppress(Exception):  # the cluster may be what is gone
                        ray.cancel(each, force=True)


def _failure(ray: Any, task: Any) -> str | None:
    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        return str(error.cause)[:_ERROR_WIDTH]
    except ray.exceptions.RayError as error:
        return f"its worker was lost {NUM_ATTEMPTS} times ({type(error).__name__})"
    return None


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    last = lines[-1].removeprefix("owdfa: ")[:_ERROR_WIDTH]
    return last if status == _USER_ERROR else f"{last} (status {status}, see {log})"


class Clock:
    """Time left, from the cells that are done.

    Args:
        total: Number of cells to run.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.began = time.monotonic()

    def tick(self) -> None:
        """One more is done."""
        self.done += 1

    def left(self) -> str:
        """How long the rest will take, in words."""
        if not self.done:
            return "time left unknown until the first is done"
        seconds = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        return (
            f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
        )
