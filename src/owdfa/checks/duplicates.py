"""Copies: files of the same bytes, and images that look alike.

Equal bytes under two classes cannot both be right. Equal bytes in training and in test make a score
worthless, so copies are one group. Images that look alike are only counted: which of them are
versions of one picture is for the user to say.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.listings import write_listing
from owdfa.records.rows import codes, duplicated

MAX_BITS = 2  # of 64 in which the perceptual hashes of images that look alike may differ
_BLOCKS = (13, 13, 13, 13, 12)  # the 64 bits; of two near hashes three blocks at least are equal
_NEIGHBOURS = 32  # with which a hash is compared where more share three blocks


def contents(sha256: pa.ChunkedArray) -> np.ndarray:
    """Number the contents of files: (rows,) int64, equal for equal bytes; null equals nothing."""
    found = codes(sha256)
    unknown = np.asarray(pc.is_null(sha256))
    found[unknown] = len(found) + np.flatnonzero(unknown)
    return found


def num_copies(content: np.ndarray) -> int:
    """Images whose bytes an earlier image has already."""
    return len(content) - len(np.unique(content))


def check_labels(
    names: pa.ChunkedArray, classes: pa.ChunkedArray, content: np.ndarray, output: Path
) -> None:
    """Refuse equal bytes under two classes. An image that nobody labelled agrees with any class.

    All such files are listed in ``<output>.copies.txt``; without any, an older list is removed.

    Args:
        names: Of the files, for the message.
        classes: Of the images, null where nobody labelled them.
        content: See ``contents``.
        output: What the stage makes.

    Raises:
        UserError: There are some; the first two are named.
    """
    listing = output.with_name(f"{output.name}.copies.txt")
    rows = duplicated(content)
    class_ = codes(classes)
    rows = rows[np.asarray(pc.is_valid(classes))[rows]]
    rows = rows[np.lexsort((rows, content[rows]))]
    at = np.flatnonzero(
        (content[rows[1:]] == content[rows[:-1]]) & (class_[rows[1:]] != class_[rows[:-1]])
    )
    pairs = [(int(rows[i]), int(rows[i + 1])) for i in at]
    lines = [f"{names[i]} ({classes[i]}) and {names[j]} ({classes[j]})" for i, j in pairs]
    write_listing(listing, "pairs of equal files under two classes", lines)
    if not lines:
        return
    more = f", as do {len(lines) - 1} more pairs" if len(lines) > 1 else ""
    raise UserError(
        f"{lines[0]}: have the same bytes under two classes{more}; remove one of the two, or give "
        f"both one class; all are listed in {listing}"
    )


def join_copies(groups: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Make one group of all groups that share a file's bytes, directly or through others.

    Args:
        groups: (rows,) int64, numbers of the groups.
        content: (rows,) int64, see ``contents``.

    Returns:
        (rows,) int64: the lowest number of the groups that became one.
    """
    rows = duplicated(content)
    if not len(rows):
        return groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num_groups = int(groups.max()) + 1
    _, kind = np.unique(content[rows], return_inverse=True)
    edges = (groups[rows], num_groups + kind)  # a node for each group and for each content
    size = num_groups + int(kind.max()) + 1
    graph = coo_array((np.ones(len(rows), np.int8), edges), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    part = part[:num_groups]
    lowest = np.full(size, num_groups)
    np.minimum.at(lowest, part, np.arange(num_groups))
    joined: np.ndarray = lowest[part][groups]
    return joined


def trained_on(content: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Which images have the bytes of one that is trained on: (rows,) bool."""
    return np.isin(content, content[training])


def look_alikes(hashes: pa.ChunkedArray, *labels: np.ndarray) -> list[np.ndarray]:
    """Find images that look like an image with another label.

    Two images look alike when their perceptual hashes differ in at most ``MAX_BITS``. A hash of 0
    is that of an image of one colour, and takes no part; nor does null. Where very many hashes are
    alike, each is compared with some of them only: then fewer are found than there are.

    Args:
        hashes: Column of uint64.
        *labels: Each (rows,) int64; an image with a negative label takes no part.

    Returns:
        For each of ``labels``: (rows,) bool.
    """
    found = [np.zeros(len(hashes), dtype=bool) for _ in labels]
    hash_ = np.asarray(pc.fill_null(hashes, 0)).astype(np.uint64)
    rows = np.flatnonzero(hash_)
    rows = rows[np.lexsort((*(label[rows] for label in labels), hash_[rows]))]
    if not len(rows):
        return found
    each = [hash_[rows], *(label[rows] for label in labels)]
    first = np.append(True, np.any([column[1:] != column[:-1] for column in each], axis=0))
    kind = np.cumsum(first) - 1  # images of equal hash and labels are looked at once
    hash_, *kinds = (column[first] for column in each)
    flags = [np.zeros(len(hash_), dtype=bool) for _ in labels]
    for one, other in _near_pairs(hash_):
        for label, flag in zip(kinds, flags, strict=True):
            pairs = (label[one] != label[other]) & (np.minimum(label[one], label[other]) >= 0)
            flag[one[pairs]] = flag[other[pairs]] = True
    for flag, result in zip(flags, found, strict=True):
        result[rows] = flag[kind]
    return found


def near_pairs(
    hashes: pa.ChunkedArray, labels: np.ndarray, most: int
) -> list[tuple[int, int, int]]:
    """Some images that look like one with another label, each once; see ``look_alikes``.

    Args:
        hashes: Column of uint64.
        labels: (rows,) int64; an image with a negative one takes no part.
        most: How many pairs.

    Returns:
        Two rows, that of the larger label first, and in how many bits their hashes differ.
    """
    hash_ = np.asarray(pc.fill_null(hashes, 0)).astype(np.uint64)
    rows = np.flatnonzero((hash_ != 0) & (labels >= 0))
    found: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    for one, other in _near_pairs(hash_[rows]):
        one, other = rows[one], rows[other]
        differ = labels[one] != labels[other]
        for pair in zip(one[differ].tolist(), other[differ].tolist(), strict=True):
            if len(found) == most:
                return found
            if seen.isdisjoint(pair):
                seen.update(pair)
                low, high = sorted(pair, key=lambda row: int(labels[row]))
                found.append((high, low, int(np.bitwise_count(hash_[high] ^ hash_[low]))))
    return found


def _near_pairs(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of near hashes, some pairs several times.

    Of five blocks of bits, two hashes that differ in two bits have three in common: they stand side
    by side when sorted by these three, for one of the ten ways to choose them.
    """
    for mask in _masks():
        masked = hashes & mask
        order = np.argsort(masked, kind="stable")
        masked = masked[order]
        left = np.arange(len(order))
        for step in range(1, _NEIGHBOURS + 1):
            left = left[left + step < len(order)]
            left = left[masked[left] == masked[left + step]]
            if not len(left):
                break
            one, other = order[left], order[left + step]
            near = np.bitwise_count(hashes[one] ^ hashes[other]) <= MAX_BITS
            yield one[near], other[near]


def _masks() -> list[np.uint64]:
    """Masks of three of the blocks each."""
    bits = [((1 << size) - 1) << sum(_BLOCKS[:i]) for i, size in enumerate(_BLOCKS)]
    return [np.uint64(sum(chosen)) for chosen in combinations(bits, len(_BLOCKS) - MAX_BITS)]
