"""Several processes on this machine: start them, hear from them, and end them together.

Each finds in its environment what torchrun would have put there, so that both ways of starting are
one from then on. None outlives the others, nor this process, even if that is killed.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import (
    connection,
    forkserver,
    get_context,
    get_start_method,
    parent_process,
    set_start_method,
)
from typing import Any

from owdfa.errors import LostProcessError, UserError
from owdfa.images.workers import num_processes

# Torch and the rest are imported once, by a server that holds no threads and no GPU; the processes
# are its forks.
_processes = get_context("forkserver")
_PRELOAD = ["owdfa.stages.train", "owdfa.backbones.tiny", "owdfa.backbones.timm"]
_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = 5.0  # seconds that a process has to end when it is told to
_NO_SERVER = 255  # exit status of a process whose server is gone, so that nobody knows

Tell = Callable[[Any], None]


def launched() -> bool:
    """Whether this process is one of several: torchrun's, or those of ``launch``."""
    return all(name in os.environ for name in _PLACE) and int(os.environ["WORLD_SIZE"]) > 1


def launch(task: Callable[[Tell], object], num: int, hear: Tell) -> None:
    """Run ``task`` in ``num`` processes and wait for them.

    Args:
        task: Can be pickled; takes a function that passes messages on.
        num: How many.
        hear: Is given what the first process passes on.

    Raises:
        UserError: One of them raised it, or was killed; the others have been stopped.
    """
    port = _free_port()
    workers: list[_Worker] = []
    try:
        _start_server()
        workers.extend(_Worker(task, rank, num, port) for rank in range(num))
        _wait(workers, hear)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


class _Worker:
    """One process, as the one that started it sees it."""

    def __init__(self, task: Callable[[Tell], object], rank: int, num: int, port: int) -> None:
        self.name = f"process {rank + 1} of {num}"
        self.error: UserError | None = None
        self.pipe, theirs = _processes.Pipe(duplex=False)
        place = dict(zip(_PLACE, (rank, rank, num, num, "127.0.0.1", port), strict=True))
        work = (task, place, get_start_method(), theirs)
        self.process = _processes.Process(target=_work, args=work, name=self.name)
        try:
            self.process.start()
        except (EOFError, ConnectionError):
            raise _server_lost() from None
        theirs.close()  # so that the pipe ends with the process

    def receive(self, hear: Tell) -> None:
        """Take in all that it has said."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, UserError):
                    self.error = message
                else:
                    hear(message)
        except EOFError:
            self.process.join()

    def failure(self) -> Exception | None:
        """Why it ended; None while it runs, when it did its work, or when another was lost."""
        code = self.process.exitcode
        if not code or isinstance(self.error, LostProcessError):
            return None
        if self.error is not None:
            return self.error
        if code == _NO_SERVER:
            return _server_lost()
        if code > 0:
            return RuntimeError(f"{self.name} failed; its traceback stands above")
        return UserError(
            f"{self.name} was killed by signal {-code}; the others were stopped;"
            " the same command with --resume goes on"
        )

    def end(self) -> None:
        """Wait for it to end, but not for long."""
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()
        self.process.close()  # where no server is left to ask, this is what ends it
        self.pipe.close()


def _wait(workers: list[_Worker], hear: Tell) -> None:
    """Hear from the workers until all have ended, or one of them has failed."""
    while running := [each for each in workers if each.process.exitcode is None]:
        # Not its pipe alone: a loader's worker may hold that open for a while.
        signs = [(each.pipe, each.process.sentinel) for each in running]
        connection.wait([sign for pair in signs for sign in pair])
        for worker in workers:
            worker.receive(hear)
        for failure in filter(None, (each.failure() for each in workers)):
            raise failure
    for lost in filter(None, (each.error for each in workers)):
        raise lost


def _work(task: Callable[[Tell], object], place: dict[str, Any], method: str, pipe: Any) -> None:
    """What a process does, from its first moment."""
    set_start_method(method, force=True)  # of its loader's workers: as where there is one process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update({name: str(value) for name, value in place.items()})
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, num_processes(0) // place["LOCAL_WORLD_SIZE"]))
    try:
        task(pipe.send if place["RANK"] == 0 else _say_nothing)
    except UserError as error:
        with suppress(BrokenPipeError):  # nobody listens any more
            pipe.send(error)
        sys.exit(2)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _say_nothing(message: Any) -> None:
    """Only the first process reports."""


def _server_lost() -> UserError:
    return UserError(
        "the server that starts the processes of this training was killed;"
        " the same command with --resume goes on"
    )


def _start_server() -> None:
    """Start the server unless it runs, deaf to Ctrl-C, which would cut its imports short."""
    _processes.set_forkserver_preload(_PRELOAD)
    if threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port
