"""What follows from the lines of a journal, kept while it grows: only new lines are looked at."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, final

from owdfa.case.journal import Entry

T = TypeVar("T")


@final
class Followed(Generic[T]):
    """A value that is a pure function of the lines of a journal. Threads may share it.

    Args:
        empty: The value of no line.
        extend: The value after more lines, of that before; it alters neither.
    """

    def __init__(self, empty: T, extend: Callable[[T, Sequence[Entry]], T]) -> None:
        self._empty, self._extend = empty, extend
        self._value, self._num, self._hash = empty, 0, ""
        self._lock = threading.Lock()

    def of(self, entries: Sequence[Entry]) -> T:
        """The value of all lines of a journal, which need not be those of the last call."""
        with self._lock:
            num = self._num
            if num > len(entries) or (num and entries[num - 1].hash != self._hash):
                self._value, self._num = self._empty, 0
            if self._num < len(entries):
                self._value = self._extend(self._value, entries[self._num :])
                self._num, self._hash = len(entries), entries[-1].hash
            return self._value
