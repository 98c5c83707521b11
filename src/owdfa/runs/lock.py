"""One writer at a time: a run folder is locked before anything in it changes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from owdfa.errors import UserError
from owdfa.files import is_utf8, writing_error

_HELD = "OWDFA_LOCKED"  # folders that the process which started this one has locked

_held: set[Path] = set()


class BusyError(UserError):
    """Another process is writing to a folder."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Let no other process write to ``folder`` until the block ends.

    The system releases the lock when the process ends, in whatever way, so a process that was
    killed leaves none. Inside of the block, in this process and in those that it starts with
    ``lock_environment``, the same folder may be locked again.

    Raises:
        BusyError: Another process is writing to it.
        UserError: Its name is not UTF-8, or it cannot be made.
    """
    folder = folder.absolute()
    if not is_utf8(folder):
        raise UserError(
            f"{folder}: its name is not UTF-8, and TensorBoard's log could not be written there;"
            " choose another -o"
        )
    if folder in _held or str(folder) in os.environ.get(_HELD, "").split(os.pathsep):
        yield
        return
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise writing_error(folder, error) from error
    try:
        _lock(handle, folder)
        _held.add(folder)
        yield
    finally:
        _held.discard(folder)
        os.close(handle)
        if made:
            with suppress(OSError):  # what was refused leaves no folder behind
                folder.rmdir()


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(
            f"{folder}: another process is writing to it; wait until that ends, or choose another"
            " -o"
        ) from None


def lock_environment() -> dict[str, str]:
    """What to add to the environment of a process that writes on behalf of this one."""
    return {_HELD: os.pathsep.join(map(str, sorted(_held)))}
