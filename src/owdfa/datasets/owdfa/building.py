"""Build the CSV of OW-DFA from the source data sets: a list of their files, nothing is copied.

As in the release's notebook: of a known class 75 % are labelled and the rest unlabelled, of a novel
class 75 % are unlabelled and the rest unused, and so are all but 5,000 (25,000) of Celeb-DF's. The
draws are our own, so a built list has the release's sizes and not its very images.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from owdfa.config import Settings
from owdfa.datasets.base import root_path
from owdfa.datasets.owdfa.listing import COLUMNS
from owdfa.datasets.owdfa.sources import SOURCES, Amounts, Found, Key, Source, ranked
from owdfa.datasets.owdfa.table import FAMILIES, class_of, classes
from owdfa.errors import UserError
from owdfa.files import atomic
from owdfa.progress import OnProgress, no_progress
from owdfa.protocols import matches, names_in, read_protocol

FILE = "owdfa.csv"
_HEADER = (*COLUMNS, "forgery_type", "group", "id")
_SHARE = 0.75  # labelled of known, unlabelled of novel
_FORGERY = {family: name for name, family in reversed(FAMILIES.items())}
_MANY = {("Real", "FaceForensics++"): 20_000, ("Real", "CelebDF"): 5_000}
_NUM_IMAGES = 2_000  # of any other class
_EVERY_FRAME_SET = ("Real", "CelebDF")  # of which a number is used, not a share


class BuildOptions(Settings):
    """How to build.

    Attributes:
        large: Five times the images of the paper's table, as in the release's large files.
        seed: Of the draws.
    """

    large: bool = False
    seed: int = 2000


class BuiltClass(NamedTuple):
    """What was found of a class: images by tag, and how many the paper's table has."""

    name: str
    source: str
    labelled: int
    unlabelled: int
    unused: int
    expected_labelled: int
    expected_unlabelled: int


class Built(NamedTuple):
    """What was written, and what can be done with it."""

    file: Path
    classes: list[BuiltClass]
    missing: dict[str, list[str]]
    """By option, such as ``"ffpp"``: the classes of a source that was not given."""
    lacking: dict[str, list[str]]
    """By protocol, such as ``"owdfa/p1"``: the names of its classes that are missing."""


class _Row(NamedTuple):
    image: Found
    tag: int
    key: Key
    label: int


def build(
    output: Path,
    roots: Mapping[str, Path],
    *,
    options: BuildOptions | None = None,
    on_progress: OnProgress = no_progress,
) -> Built:
    """Write ``<output>/owdfa.csv`` from the source data sets that are there.

    Args:
        output: Folder to write to.
        roots: Folders of the source data sets by option: ffpp, celebdf, forgerynet, dffd,
            forgerynir, df3. Any may be missing, not all.
        options: How to build.
        on_progress: Called with (sources done, sources in all).

    Raises:
        UserError: No source is given, one is no folder or has another layout, or the file cannot be
            written.
    """
    options = options or BuildOptions()
    given = [source for source in SOURCES if source.option in roots]
    if not given:
        names = ", ".join(f"--{source.option}" for source in SOURCES)
        raise UserError(f"data build owdfa: name the folder of at least one source: {names}")
    amounts = Amounts(5 if options.large else 1, options.seed)
    images: dict[Key, list[Found]] = {}
    for done, source in enumerate(given, 1):
        images |= _find(source, root_path(str(roots[source.option])), amounts)
        on_progress(done, len(given))
    rows = _rows(images, amounts)
    _write(output / FILE, rows)
    there = {class_of(*key)[0] for key in images}
    missing = {
        source.option: [class_of(method, source.name)[0] for method in source.methods]
        for source in SOURCES
        if source not in given
    }
    summary = [_summary(key, rows, amounts.scale) for key in images]
    return Built(output / FILE, summary, missing, _lacking(there))


def _rows(images: dict[Key, list[Found]], amounts: Amounts) -> list[_Row]:
    """A row for every image: known classes have the lower labels, tags are drawn in each class."""
    known = {key for key in images if _is_known(key)}
    rows = []
    for label, key in enumerate(sorted(images, key=lambda key: key not in known)):
        tags = _tags(key, len(images[key]), amounts.scale, known=key in known)
        ordered = ranked(images[key], amounts.seed, "tag")
        rows += [_Row(*pair, key, label) for pair in zip(ordered, tags, strict=True)]
    return rows


def _find(source: Source, root: Path, amounts: Amounts) -> dict[Key, list[Found]]:
    """The images of one source, of every class that it has any of."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --{source.option} is that of {source.name}")
    found = {key: images for key, images in source.find(root, amounts).items() if images}
    if not found:
        raise UserError(
            f"{root}: is not laid out as {source.name}; expected there: {source.expected}"
        )
    return found


def _is_known(key: Key) -> bool:
    listed = classes().get(key)
    if listed is not None:
        return listed.known
    return any(matches(name, [class_of(*key)[0]]) for name in read_protocol("owdfa/p4").known)


def _tags(key: Key, num_images: int, scale: int, *, known: bool) -> list[int]:
    """1 labelled, 2 unlabelled, 0 unused, for so many images of a class."""
    share = int(num_images * _SHARE + 0.5)
    if key == _EVERY_FRAME_SET:
        share = min(num_images, _MANY[key] * scale)
    first, rest = (1, 2) if known else (2, 0)
    return [first] * share + [rest] * (num_images - share)


def _summary(key: Key, rows: list[_Row], scale: int) -> BuiltClass:
    counts = [0, 0, 0]
    for row in rows:
        if row.key == key:
            counts[row.tag] += 1
    wanted = _MANY.get(key, _NUM_IMAGES) * scale
    tags = _tags(key, wanted, scale, known=_is_known(key))
    expected = (tags.count(1), tags.count(2))
    return BuiltClass(class_of(*key)[0], key[1], counts[1], counts[2], counts[0], *expected)


def _lacking(there: set[str]) -> dict[str, list[str]]:
    lacking = {}
    for name in names_in("owdfa"):
        protocol = read_protocol(name)
        wanted = (*protocol.known, *protocol.novel)
        lacking[name] = [each for each in wanted if not matches(each, sorted(there))]
    return lacking


def _write(file: Path, rows: list[_Row]) -> None:
    """Write the CSV; one that was built before is replaced."""
    with atomic(file, _is_built) as temporary, _open(temporary) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEADER)
        for image, tag, key, label in rows:
            family = class_of(*key)[1] or "generate"
            cells = (*key, tag, int(family == "real"), _FORGERY[family], image.group, image.id)
            writer.writerow((image.path, label, *cells))


def _open(file: Path) -> TextIO:
    """A name that is not UTF-8 is written as an escape: scan then counts the file as missing."""
    return file.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def _is_built(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().strip() == ",".join(_HEADER)
