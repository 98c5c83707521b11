"""What becomes of files that cannot be used: all are listed, and too many end the stage."""

from collections.abc import Sequence
from pathlib import Path

from owdfa.errors import UserError
from owdfa.listings import check_listing, read_listing, write_listing

PASSED_OVER = "passed over"
"""What is said of files that are no images, or not used as such; the reason follows."""


def listing_of(output: Path) -> Path:
    """The file that lists what is not in ``output``."""
    return output.with_name(f"{output.name}.bad.txt")


def read_bad(output: Path) -> list[str]:
    """What is not in ``output``, each with its reason; none when there is no list."""
    return read_listing(listing_of(output))


def is_note(line: str, kind: str) -> bool:
    """Whether a line of the list is a note, such as ``PASSED_OVER``, and no bad image."""
    return f": {kind} (" in line


def check_place(output: Path) -> None:
    """Refuse an output whose list would replace a file that is none.

    Raises:
        UserError: There is such a file.
    """
    check_listing(listing_of(output))


def check_bad(
    bad: Sequence[tuple[str, str]],
    total: int,
    output: Path,
    max_bad: float,
    *,
    noun: str,
    notes: Sequence[tuple[str, str]] = (),
) -> None:
    """List bad images in ``<output>.bad.txt``, one a line, and refuse too many of them.

    Without any, an older list is removed.

    Args:
        bad: Name and reason of each.
        total: Number of images, the bad ones among them.
        output: What the stage makes.
        max_bad: How many are tolerated: a share of all when below 1, else a count.
        noun: What they are called, ``"images"`` say.
        notes: Name and note of what is listed too and not counted: files passed over, say.

    Raises:
        UserError: They are more than ``max_bad``, or all; or a file that is no such list stands
            where the list belongs.
    """
    listing = listing_of(output)
    lines = [f"{name}: {reason}" for name, reason in (*bad, *notes)]
    title = f"not used for {output.name}, or not as a whole; each with the reason"
    write_listing(listing, title, lines)
    if not bad:
        return
    first = f"first {lines[0]}; all are listed in {listing}"
    if len(bad) == total:
        raise UserError(f"none of the {total} {noun} can be used; {first}")
    if len(bad) > (max_bad if max_bad >= 1 else max_bad * total):
        raise UserError(
            f"{len(bad)} of {total} {noun} cannot be used, more than --max-bad allows "
            f"({max_bad:g}); {first}"
        )
