"""Work on many images in several processes or threads: in order, in bounded memory."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import TypeVar

from owdfa.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_processes(jobs: int) -> int:
    """``jobs``, or one a core that this process may use when it is 0."""
    if jobs:
        return jobs
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Apply ``function`` to every item in ``jobs`` processes, or in this one when that is 1.

    Processes are spawned, not forked: a forked child of a process with threads may hang. At most
    two items a process are pending.

    Raises:
        UserError: A process died.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died: it ran out of memory, or a script calls owdfa outside of "
            "'if __name__ == \"__main__\":'; try jobs=1"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def threaded_map(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Apply ``function`` to every item in ``jobs`` threads; results come in order.

    For work that releases the interpreter's lock most of the time. At most two items a thread
    are pending.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(jobs)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave interrupts to the parent process, and end with it, even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
