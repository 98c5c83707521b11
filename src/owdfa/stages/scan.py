"""Scan: list the images of a data set, with content hash, size and format of each.

Every file is read once. A file that cannot be used keeps its row, with the reason in ``error``.
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from owdfa import catalog
from owdfa.config import Settings
from owdfa.datasets.base import ImageEntry, composed, images_only, root_path
from owdfa.errors import UserError
from owdfa.images.bad import check_bad, check_listing
from owdfa.images.examine import Examined, examine
from owdfa.images.workers import num_processes, ordered_map, threaded_map
from owdfa.records.manifest import SCHEMA, Manifest, manifest_writer
from owdfa.records.rows import first_twice, in_order, repeated

_CHUNK = 8192  # rows that are held as Python objects at once
_BLOCK = 128  # files that a worker takes at once
_FOLDERS = 1 << 16  # whose real path is remembered
_MANY = 20_000  # files; of fewer, starting processes takes longer than threads wait for each other
_LISTED = pa.schema([SCHEMA.field(i) for i in range(6)] + [SCHEMA.field("error")])


class ScanOptions(Settings):
    """How to scan.

    ``group_level`` and ``group_regex`` say what a split may not cut, in place of what the data set
    says; the same name in two classes is one group, as for an identity or a prompt.
    """

    group_level: int | None = Field(default=None, ge=1)
    """Which folder of the path below the root names the group; 1 is the class in ``folder:``."""
    group_regex: str | None = None
    """Pattern searched for in the path below the root; its first (...) is the group."""
    max_bad: float = Field(default=0.01, ge=0)
    """Bad files to tolerate: a share of all when below 1, else a count."""
    jobs: int = Field(default=0, ge=0)
    """Processes, or threads for a few files; 0 is one a core."""


class Source(NamedTuple):
    """A data set's name and place, ``name:root``."""

    name: str
    root: str

    def __str__(self) -> str:
        return f"{self.name}:{self.root}"


def parse_source(text: str) -> Source:
    """Read ``folder:photos/``, ``csv:list.csv``, ``lab:DIR``, or a plain path.

    A plain folder is ``folder:``, a plain ``.csv`` file ``csv:``. A name with a dot is a module
    outside this package, as everywhere.

    Raises:
        UserError: There is neither such a data set nor such a file.
    """
    name, colon, root = text.partition(":")
    path = root_path(text)
    if colon and (name in catalog.names("datasets") or not path.exists()):
        if "." not in name:
            catalog.check("datasets", name)
        return Source(name, root)
    if path.suffix.lower() == ".csv":
        return Source("csv", text)
    if not path.is_dir():
        known = ", ".join(f"{known}:" for known in catalog.names("datasets"))
        raise UserError(f"{text}: no such folder; name one, or put before it one of {known}")
    return Source("folder", text)


def scan(
    source: str,
    output: Path,
    *,
    options: ScanOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """List the images of a data set and write their manifest to ``output``.

    The result does not depend on the order in which the file system lists files. Bad files are
    also listed in ``<output>.bad.txt``, one a line.

    Args:
        source: The data set, see ``parse_source``.
        output: The manifest to write.
        options: How to group images, and how many bad files to tolerate.
        on_progress: Called with (files done, files in all).

    Raises:
        UserError: The data set cannot be listed, a file is listed twice, or too many are bad.
    """
    options = options or ScanOptions()
    address = parse_source(source)
    notes: list[tuple[str, str]] = []
    entries = catalog.load("datasets", address.name).read(address.root)
    listed = _listed(images_only(entries, notes), _grouping(options))
    if not listed.num_rows:
        raise UserError(f"{address}: no images there; name a place that holds some")
    check_listing(output)
    with manifest_writer(output, str(address)) as write:
        jobs = num_processes(options.jobs)
        watch = on_progress or _look_away
        bad, places, linked = _examine_all(listed, jobs, watch, write, notes)
        _check_same_file(listed, places, linked)
        check_bad(bad, listed.num_rows, output, options.max_bad, noun="files", notes=notes)
    del listed  # the manifest takes as much again
    return Manifest.read(output)


def _look_away(done: int, total: int) -> None:
    """Show nobody the progress."""


def _grouping(options: ScanOptions) -> Callable[[ImageEntry], str]:
    """What gives an image its group.

    Raises:
        UserError: Both ways are asked for, or the pattern is not one.
    """
    level = options.group_level
    if options.group_regex is None:
        return _own_group if level is None else lambda listing: _group_by_level(listing, level)
    if level is not None:
        raise UserError("group_level and group_regex exclude each other; give one of them")
    try:
        pattern = re.compile(options.group_regex)
    except re.error as error:
        raise UserError(f"group_regex {options.group_regex!r}: {error}") from None
    if pattern.groups < 1:
        raise UserError(f"group_regex {pattern.pattern!r}: put what names the group into (...)")
    return lambda listing: _group_by_pattern(listing, pattern)


def _own_group(listing: ImageEntry) -> str:
    return listing.group


def _group_by_level(listing: ImageEntry, level: int) -> str:
    folders = listing.id.split("/")[:-1]
    if len(folders) < level:
        raise UserError(f"{listing.path}: lies in no folder of group_level {level}")
    if composed(folders[level - 1]) == listing.class_:
        raise UserError(
            f"{listing.path}: group_level {level} is the class, which a split must cut; "
            f"the folder below it is {level + 1}"
        )
    return folders[level - 1]


def _group_by_pattern(listing: ImageEntry, pattern: re.Pattern[str]) -> str:
    found = pattern.search(listing.id)
    if found is None or not found[1]:
        raise UserError(f"{listing.path}: group_regex {pattern.pattern!r} finds no group in it")
    return found[1]


def _listed(listings: Iterator[ImageEntry], group_of: Callable[[ImageEntry], str]) -> pa.Table:
    """Rows of ``_LISTED``, sorted by id; ``error`` is set where the name cannot be written down.

    Raises:
        UserError: An id occurs twice.
    """
    batches = []
    while chunk := list(islice(listings, _CHUNK)):
        rows = [_listed_row(listing, group_of(listing)) for listing in chunk]
        columns = [list(column) for column in zip(*rows, strict=True)]
        batches.append(pa.record_batch(columns, schema=_LISTED))
    table = in_order(pa.Table.from_batches(batches, schema=_LISTED))
    twice = first_twice(table["id"])
    if twice >= 0:
        name, (first, second) = table["id"][twice], table["path"][twice : twice + 2]
        raise UserError(f"{name}: listed twice, as {first} and {second}; remove one")
    return table


def _listed_row(listing: ImageEntry, group: str) -> tuple[str | None, ...]:
    """One row of ``_LISTED``; bytes that are not UTF-8 are written out in hexadecimal."""
    class_, family, source = listing.class_, listing.family, listing.source
    row = (listing.id, str(listing.path), class_, family, source, group)
    try:
        "".join(cell or "" for cell in row).encode()
    except UnicodeEncodeError:
        clean = (cell and os.fsencode(cell).decode(errors="backslashreplace") for cell in row)
        return (*clean, "its name is not UTF-8; rename it")
    return (*row, None)


def _examine_all(
    listed: pa.Table,
    jobs: int,
    watch: Callable[[int, int], None],
    write: Callable[[pa.RecordBatch], None],
    notes: list[tuple[str, str]],
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Read every file, write the rows of the manifest, and add what is noted of files to ``notes``.

    Returns:
        Path and reason of each bad file; the place of each file, (files,) int64, and which paths
        are links, (files,) bool.
    """
    bad: list[tuple[str, str]] = []
    places = np.zeros(listed.num_rows, dtype=np.int64)
    linked = np.zeros(listed.num_rows, dtype=bool)
    batches = listed.to_batches(max_chunksize=_BLOCK)
    work = map(_files, batches)
    several = ordered_map if listed.num_rows >= _MANY else threaded_map
    done = 0
    for batch, rows in zip(batches, several(examine, work, jobs), strict=True):
        write(_joined(batch, rows))
        bad += [(str(batch["path"][i]), row.error) for i, row in enumerate(rows) if row.error]
        notes += [(str(batch["path"][i]), row.note) for i, row in enumerate(rows) if row.note]
        places[done : done + len(rows)] = [row.place for row in rows]
        linked[done : done + len(rows)] = [row.linked for row in rows]
        done += len(rows)
        watch(done, listed.num_rows)
    return bad, places, linked


def _files(batch: pa.RecordBatch) -> list[tuple[str, str | None]]:
    """Path of each file, and what its listing says against it."""
    return list(zip(batch["path"].to_pylist(), batch["error"].to_pylist(), strict=True))


def _joined(batch: pa.RecordBatch, rows: list[Examined]) -> pa.RecordBatch:
    """Rows of the manifest: what was listed and what was found; ``prepare`` fills the rest."""
    columns = {name: batch[name] for name in _LISTED.names}
    for name in ("width", "height", "format", "bytes", "sha256", "error"):
        columns[name] = pa.array([getattr(row, name) for row in rows], SCHEMA.field(name).type)
    empty = {name: pa.nulls(len(rows), SCHEMA.field(name).type) for name in ("phash", "face")}
    columns |= empty
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _check_same_file(listed: pa.Table, places: np.ndarray, linked: np.ndarray) -> None:
    """Refuse two rows of which one is a link to the other, or another spelling of its path.

    Hard links, which some stores of files are full of, are files in their own right: a row is
    looked at by itself only where another is the same file in the same folder.

    Raises:
        UserError: Two rows are the same file.
    """
    rows = repeated(places)
    rows = rows[places[rows] != 0]
    rows = rows[repeated(places[rows] ^ _folders(listed, rows, linked[rows]))]
    first: dict[str, str] = {}
    for path in (path for paths in _paths(listed, rows) for path in paths.to_pylist()):
        before = first.setdefault(os.path.realpath(path), path)
        if before != path:
            raise UserError(f"{before} and {path}: are the same file; list it once")


def _folders(listed: pa.Table, rows: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """A hash of the folder in which each of these files is, links resolved: (rows,) int64."""
    real = lru_cache(_FOLDERS)(os.path.realpath)
    hashes = np.zeros(len(rows), dtype=np.int64)
    done = 0
    for paths in _paths(listed, rows):
        names = pc.replace_substring_regex(paths, r"[^/]*$", "").dictionary_encode()
        each = np.array([hash(real(name)) for name in names.dictionary.to_pylist()], np.int64)
        hashes[done : done + len(paths)] = each[np.asarray(names.indices)]
        for i in np.flatnonzero(linked[done : done + len(paths)]).tolist():
            folder = os.path.dirname(os.path.realpath(paths[i].as_py()))  # noqa: PTH120
            hashes[done + i] = hash(folder)
        done += len(paths)
    return hashes


def _paths(listed: pa.Table, rows: np.ndarray) -> Iterator[pa.StringArray]:
    """Paths of some of the files, in order, a few thousand at a time."""
    chosen = np.zeros(listed.num_rows, dtype=bool)
    chosen[rows] = True
    for batch in listed.select(["path"]).filter(pa.array(chosen)).to_batches(max_chunksize=_CHUNK):
        yield batch["path"]
