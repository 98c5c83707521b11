"""How far something is: one callback for every stage."""

from typing import Protocol


class OnProgress(Protocol):
    """Is called now and then with how much is done, how much there is, and a note."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None:
        """Take note."""
        ...


def no_progress(done: int, total: int, note: str = "", /) -> None:
    """Ignore it."""
