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
    lines = [f"{name}: {reason}" for name, reason in bad]
    others = [f"{name}: {note}" for name, note in notes]
    write_bad(listing, output, [*lines, *others])
    refuse_bad(lines, total, listing, max_bad, noun=noun)


def write_bad(listing: Path, output: Path, lines: Sequence[str]) -> None:
    """List what is not in ``output``, each with its reason; without lines, remove an older list.

    Raises:
        UserError: A file that is no such list stands there, or it cannot be written.
    """
    title = f"not used for {output.name}, or not as a whole; each with the reason"
    write_listing(listing, title, lines)


def refuse_bad(
    lines: Sequence[str], total: int, listing: Path, max_bad: float, *, noun: str
) -> None:
    """Refuse too many bad images.

    Args:
        lines: What is said of each bad one.
        total: Number of images, the bad ones among them.
        listing: The file that lists them.
        max_bad: As in ``check_bad``.
        noun: What they are called.

    Raises:
        UserError: They are more than ``max_bad``, or all.
    """
    if not lines:
        return
    first = f"first {lines[0]}; all are listed in {listing}"
    if len(lines) == total:
        raise UserError(f"none of the {total} {noun} can be used; {first}")
    if is_too_many(len(lines), total, max_bad):
        raise UserError(
            f"{len(lines)} of {total} {noun} cannot be used, more than --max-bad allows "
            f"({max_bad:g}); {first}"
        )


def is_too_many(num_bad: int, total: int, max_bad: float) -> bool:
    """Whether so many bad images of ``total`` are more than ``max_bad``, a share or a count."""
    return num_bad > (max_bad if max_bad >= 1 else max_bad * total)
