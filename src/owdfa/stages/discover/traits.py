"""What the files of a group have in common, and those of other groups have not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from owdfa.images.decode import BadImageError, read
from owdfa.images.jpeg import jpeg_traits
from owdfa.images.workers import num_processes, threaded_map
from owdfa.records.clusters import Trait
from owdfa.records.verdict import FileVerdict
from owdfa.stages.evidence.metadata import read_metadata

MAX_READ = 50
"""Files of a group that are read; of more, as many evenly."""
_SHARED = 0.8  # of a group's files
_SEVERAL = ("EXIF taken", "EXIF changed")  # differ from file to file, or say nothing
_TOLD = 8

Pairs = frozenset[tuple[str, str]]


def traits_of(
    groups: Mapping[str, Sequence[str]],
    files: Mapping[str, FileVerdict],
    places: Mapping[str, Path],
    jobs: int = 0,
) -> dict[str, tuple[Trait, ...]]:
    """Traits of each group, by id; those that set it apart come first.

    Args:
        groups: Images of each, by SHA-256.
        files: What is known of each image.
        places: Where it is.
        jobs: Threads that read; 0 for one a core.
    """
    read_ = {id_: _evenly(images) for id_, images in groups.items()}
    wanted = [image for images in read_.values() for image in images]
    pairs = threaded_map(lambda x: _pairs(files[x], places[x]), wanted, num_processes(jobs))
    found = dict(zip(wanted, pairs, strict=True))
    counts = {id_: _count(found[image] for image in images) for id_, images in read_.items()}
    total = sum(counts.values(), Counter[tuple[str, str]]())
    made = {}
    for id_, images in read_.items():
        others = len(wanted) - len(images)
        traits = [
            Trait(
                what=what,
                value=value,
                share=count / len(images),
                elsewhere=(total[what, value] - count) / others if others else None,
            )
            for (what, value), count in counts[id_].items()
            if count >= _SHARED * len(images)
        ]
        traits.sort(key=lambda each: ((each.elsewhere or 0.0) - each.share, each.what))
        made[id_] = tuple(traits[:_TOLD])
    return made


def _pairs(file: FileVerdict, place: Path) -> Pairs:
    """Names and values of what a file is like."""
    found = [("format", file.format or "unknown"), ("size", f"{file.width} x {file.height}")]
    if file.jpeg_quality is not None:
        found.append(("JPEG quality", str(file.jpeg_quality)))
    try:
        data = read(place)
    except BadImageError:
        return frozenset(found)
    if traits := jpeg_traits(data):
        found += [("JPEG tables", traits.tables), ("JPEG form", traits.form)]
    found += [pair for pair in read_metadata(data) if pair[0] not in _SEVERAL]
    return frozenset(found)


def _count(found: Iterator[Pairs]) -> Counter[tuple[str, str]]:
    return Counter(pair for pairs in found for pair in pairs)


def _evenly(images: Sequence[str]) -> list[str]:
    step = max(1, -(-len(images) // MAX_READ))
    return list(images[::step])
