"""What becomes of images that cannot be used: all are listed, and too many end the stage."""

from collections.abc import Sequence
from pathlib import Path

from owdfa.errors import UserError
from owdfa.files import write_text


def listing_of(output: Path) -> Path:
    """The file that lists the images which are not in ``output``."""
    return output.with_name(f"{output.name}.bad.txt")


def read_listing(output: Path) -> list[str]:
    """The images that are not in ``output``, each with its reason; none when there is no list."""
    listing = listing_of(output)
    return listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []


def check_bad(
    bad: Sequence[tuple[str, str]], total: int, output: Path, max_bad: float, *, noun: str
) -> None:
    """List bad images in ``<output>.bad.txt``, one a line, and refuse too many of them.

    Without any, an older list is removed.

    Args:
        bad: Name and reason of each.
        total: Number of images, the bad ones among them.
        output: What the stage makes.
        max_bad: How many are tolerated: a share of all when below 1, else a count.
        noun: What they are called, ``"images"`` say.

    Raises:
        UserError: They are more than ``max_bad``, or all.
    """
    listing = listing_of(output)
    if not bad:
        if listing.exists():
            listing.unlink()
        return
    lines = [f"{name}: {reason}" for name, reason in bad]
    write_text(listing, "".join(f"{line}\n" for line in lines))
    first = f"first {lines[0]}; all are listed in {listing}"
    if len(bad) == total:
        raise UserError(f"none of the {total} {noun} can be used; {first}")
    if len(bad) > (max_bad if max_bad >= 1 else max_bad * total):
        raise UserError(
            f"{len(bad)} of {total} {noun} cannot be used, more than --max-bad allows "
            f"({max_bad:g}); {first}"
        )
