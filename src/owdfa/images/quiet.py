"""Warnings of the decoders: noted, not printed, whatever the process does with warnings."""

import threading
import warnings
from contextlib import ExitStack
from typing import Any

LEFT_ASIDE = "metadata left aside"
"""What is said of images that are used; the reason follows."""


class Quiet:
    """Inside of it, what a decoder warns of is noted, of each thread by itself, and not printed.

    Python keeps one list of warning filters for all threads: the first that comes in changes it,
    the last that leaves puts it back.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.num_inside = 0
        self.before = ExitStack()
        self.own = threading.local()

    def __enter__(self) -> list[str]:
        """What is noted until the block ends."""
        with self.lock:
            if self.num_inside == 0:
                self.before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("always", module="PIL|pillow_heif|pillow_jxl")
                self.show, warnings.showwarning = warnings.showwarning, self._show
            self.num_inside += 1
        notes: list[str] = []
        self.own.notes = notes
        return notes

    def __exit__(self, *_: object) -> None:
        self.own.notes = None
        with self.lock:
            self.num_inside -= 1
            if self.num_inside == 0:
                self.before.close()

    def note(self, text: str) -> None:
        """Note something else, inside of the block."""
        self.own.notes.append(text)

    def _show(self, message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if getattr(self.own, "notes", None) is None:  # of a thread that decodes nothing
            self.show(message, *args, **kwargs)
        else:
            self.note(in_one_line(message))


def in_one_line(error: BaseException | str) -> str:
    """What an exception or a warning says, or its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


QUIET = Quiet()
"""The one of this process: the filters are the process's too."""
