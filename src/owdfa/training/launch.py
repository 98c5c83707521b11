"""Several processes on this machine: the command line again, under torch's own launcher."""

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from owdfa.errors import UserError
from owdfa.runs.lock import lock_environment

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_LAUNCHER = "OWDFA_LAUNCHER"  # its process id, in the environment of the processes it starts
_PR_SET_PDEATHSIG = 1  # of prctl(2)


def run_processes(arguments: Sequence[str], num: int) -> None:
    """Run ``owdfa <arguments>`` in ``num`` processes, and wait; torch ends all when one fails.

    Raises:
        UserError: One of them failed. What the user can fix was said by the process itself.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=uuid4().hex,
        max_restarts=0,
        monitor_interval=0.2,
    )
    stopped_by = None
    try:
        with _handed_on({**lock_environment(), **launcher_environment()}):
            elastic_launch(config, sys.executable)("-m", "owdfa", *arguments)
    except SignalException as error:
        stopped_by = error.sigval
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=lambda each: _order(each[1]))
        how = (
            f"was killed by signal {-failure.exitcode}"
            if failure.exitcode < 0
            else f"ended with status {failure.exitcode}, see above"
        )
        raise UserError(
            f"process {rank + 1} of {num} {how}; run the same command with --resume to continue"
        ) from None
    if stopped_by is not None:  # torch caught it to end the processes; it was meant for us
        signal.raise_signal(stopped_by)
        raise KeyboardInterrupt


def launcher_environment() -> dict[str, str]:
    """What to add to the environment of a process that is to end with this one."""
    return {_LAUNCHER: str(os.getpid())}


def _order(failure: "ProcessFailure") -> tuple[bool, bool, int]:
    """Sorts a failure before those that it led to.

    Where a process is killed, the others lose their connection and end with a status; torch then
    terminates those that are left.
    """
    return (failure.exitcode == -signal.SIGTERM, failure.exitcode >= 0, failure.timestamp)


def end_with_launcher() -> None:
    """Let the system end this process when the one that started it for ``run_processes`` is gone.

    A process that was killed cannot end the others; they would go on writing to the run.
    """
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(launcher):  # it was gone already
        sys.exit(1)


@contextmanager
def _handed_on(variables: dict[str, str]) -> Iterator[None]:
    """Add variables to the environment; put back at the end what torch changes in this process.

    It hands the environment on, catches the signals that stop a process, and logs what is an error
    of one line here.
    """
    log = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    level = log.level
    environment = dict(os.environ)
    caught = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in caught}
    os.environ.update(variables)
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        log.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
