"""What the command line sets for its own process; a library call leaves its host as it is."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of mallopt(3)


def keep_memory() -> None:
    """Let this process's C library keep what is freed, from now on.

    glibc gives a large block back to the system at once, and gets the next one page by page, each
    filled with zeros: on a CPU a fifth of the time of a step, or of a prediction, with large
    feature maps. Threads started from now on share what is kept, so the most that a process holds
    stays the same. Without glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


def share_cores() -> None:
    """Before torch is imported: let its idle threads sleep, unless the user says otherwise.

    OpenMP lets them wait busily by default. Where another program uses one of the cores, they keep
    it from the thread that has work: a training on two cores took three times as long. Alone on its
    cores a training takes some 4 % longer by this.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
