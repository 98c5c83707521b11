"""Copies: files of the same bytes, and images that look alike."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from owdfa.checks import duplicates
from owdfa.records.rows import duplicated
from owdfa.stages.audit.findings import MAX_PAIRS, Finding, Pair
from owdfa.stages.audit.images import TEST, TRAINING, Images


def copies(images: Images) -> Iterator[Finding]:
    """Files of the same bytes: on both sides of the split, under two classes, and all in all."""
    content = duplicates.contents(images.table["sha256"])
    tested = images.sides == TEST
    seen = duplicates.trained_on(content, images.sides == TRAINING) & tested
    if seen.any():
        line = (
            f"{int(seen.sum())} of {int(tested.sum())} test images are byte copies of images that"
            " are trained on; split by --rule group, which keeps copies on one side"
        )
        trained = np.flatnonzero(images.sides == TRAINING)
        pairs = _equal_pairs(content, np.flatnonzero(seen), trained)
        yield Finding("copies on both sides", line, is_leak=True, pairs=pairs)
    rows = _of_two_classes(content, images.classes)
    if len(rows):
        line = f"{len(rows)} files have the bytes of one of another class; one of the two is wrong"
        pairs = _equal_pairs(content, rows, rows)
        yield Finding("one file, two classes", line, pairs=pairs)
    if num := duplicates.num_copies(content):
        again = duplicated(content)
        line = f"{num} of {len(images)} images are byte copies of others"
        yield Finding("copies", line, pairs=_equal_pairs(content, again, again))


def _of_two_classes(content: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows, in order, whose content another row has under another class."""
    rows = duplicated(content)
    rows = rows[classes[rows] >= 0]
    _, number = np.unique(content[rows], return_inverse=True)
    size = int(number.max(initial=-1)) + 1
    low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    np.minimum.at(low, number, classes[rows])
    np.maximum.at(high, number, classes[rows])
    found: np.ndarray = rows[(low != high)[number]]
    return found


def _equal_pairs(content: np.ndarray, rows: np.ndarray, among: np.ndarray) -> tuple[Pair, ...]:
    """Some of ``rows``, each beside the first of ``among`` that has its content."""
    first = dict(zip(content[among[::-1]].tolist(), among[::-1].tolist(), strict=True))
    found = ((row, first.get(int(content[row]), row)) for row in rows.tolist())
    return tuple(islice((Pair(row, other) for row, other in found if row != other), MAX_PAIRS))


def look_alikes(images: Images) -> Iterator[Finding]:
    """Images whose perceptual hash is nearly that of one of the other side, or of another class."""
    hashes = images.table["phash"]
    if hashes.null_count == len(hashes):
        return
    sides, classes = images.sides, images.classes
    by_side, by_class = duplicates.look_alikes(hashes, sides, classes)
    tested = sides == TEST
    bits = f"perceptual hashes differ in at most {duplicates.MAX_BITS} of 64 bits"
    if num := int((by_side & tested).sum()):
        line = (
            f"{num} of {int(tested.sum())} test images look like one that is trained on ({bits});"
            " are they frames of a video or versions of a picture, make these the groups"
        )
        yield Finding("look-alikes on both sides", line, pairs=_near(hashes, sides))
    if num := int(by_class.sum()):
        line = (
            f"{num} of {len(images)} images look like one of another class ({bits}), as a forgery"
            " and its original may; otherwise see whether a label is wrong"
        )
        yield Finding("look-alikes of two classes", line, pairs=_near(hashes, classes))


def _near(hashes: pa.ChunkedArray, labels: np.ndarray) -> tuple[Pair, ...]:
    found = duplicates.near_pairs(hashes, labels, MAX_PAIRS)
    return tuple(Pair(one, other, f"{bits} bits differ") for one, other, bits in found)
