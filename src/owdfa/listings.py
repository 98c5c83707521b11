"""Lists of files for the user to read, one a line below a first line that says what they are.

By its first line a list is known as one of ours, which a later run replaces or removes.
"""

from collections.abc import Sequence
from pathlib import Path

from owdfa.files import check_replaceable, write_text

_MARK = "# owdfa: "


def write_listing(path: Path, title: str, lines: Sequence[str]) -> None:
    """Write a list in place of an older one; without lines, remove that.

    Args:
        path: The file.
        title: What the list is of, in one line.
        lines: Line breaks in the names of files are written as escapes.

    Raises:
        UserError: A file that is no such list is there, or it cannot be written.
    """
    if lines:
        whole = [_MARK + title, *(line.replace("\n", "\\n") for line in lines)]
        write_text(path, "".join(f"{line}\n" for line in whole), _is_listing)
    elif path.is_file() and _is_listing(path):
        path.unlink()


def read_listing(path: Path) -> list[str]:
    """The lines of a list; none when there is no list."""
    if not path.is_file() or not _is_listing(path):
        return []
    return path.read_text(encoding="utf-8").splitlines()[1:]


def check_listing(path: Path) -> None:
    """Refuse a place where the list would replace a file that is none.

    Raises:
        UserError: There is such a file.
    """
    check_replaceable(path, _is_listing)


def _is_listing(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_MARK)) == _MARK.encode()
