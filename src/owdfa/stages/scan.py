"""Scan: list the images of a data set, with content hash, size and format of each.

Every file is read once. A file that cannot be used keeps its row, with the reason in ``error``.
"""

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pydantic import Field

from owdfa import catalog
from owdfa.checks import duplicates
from owdfa.checks.classes import doubtful_classes
from owdfa.checks.shortcuts import shortcut_note
from owdfa.config import Settings
from owdfa.datasets.base import ImageEntry, composed, images_only, root_path
from owdfa.errors import UserError
from owdfa.images.bad import check_bad, check_place
from owdfa.images.examine import FileInfo, examine
from owdfa.images.workers import num_processes, ordered_map, threaded_map
from owdfa.progress import OnProgress, no_progress
from owdfa.records.manifest import SCHEMA, Manifest, manifest_writer
from owdfa.records.rows import first_duplicate, sorted_by_id

_CHUNK = 8192  # rows that are held as Python objects at once
_BLOCK = 128  # files that a worker takes at once
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
    on_progress: OnProgress = no_progress,
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
        UserError: The data set cannot be listed, an id is listed twice, two classes hold the same
            bytes, or too many files are bad.
    """
    options = options or ScanOptions()
    notes: list[tuple[str, str]] = []
    listed = list_images(source, options, notes)
    check_place(output)
    with manifest_writer(output, str(parse_source(source))) as write:
        jobs = num_processes(options.jobs)
        bad, sha256 = _examine_all(listed, jobs, on_progress, write, notes)
        content = duplicates.contents(sha256)
        duplicates.check_labels(listed["path"], listed["class"], content, output)
        check_bad(bad, listed.num_rows, output, options.max_bad, noun="files", notes=notes)
    del listed  # the manifest takes as much again
    return Manifest.read(output)


def list_images(
    source: str, options: ScanOptions, passed_over: list[tuple[str, str]] | None = None
) -> pa.Table:
    """List the images of a data set without reading them: id, path, class and what is known.

    Args:
        source: The data set.
        options: How to group images.
        passed_over: Is given the path of what is no image, and why it is none.

    Raises:
        UserError: The data set cannot be listed, is empty, or lists an id twice.
    """
    address = parse_source(source)
    others: list[tuple[str, str]] = [] if passed_over is None else passed_over
    entries = catalog.load("datasets", address.name).read(address.root)
    listed = _listed(images_only(entries, others), _grouping(options))
    if not listed.num_rows:
        raise UserError(f"{address}: no images there; name a place that holds some")
    return listed


def notes_on(manifest: Manifest) -> list[str]:
    """What the user should know of the images before they are split, one line each."""
    table = manifest.usable().table
    notes = doubtful_classes(table)
    if num := duplicates.num_copies(duplicates.contents(table["sha256"])):
        notes.append(f"{num} images are byte copies of others; a split keeps copies on one side")
    if shortcut := shortcut_note(table):
        notes.append(shortcut)
    return notes


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
    table = sorted_by_id(pa.Table.from_batches(batches, schema=_LISTED))
    twice = first_duplicate(table["id"])
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
    watch: OnProgress,
    write: Callable[[pa.RecordBatch], None],
    notes: list[tuple[str, str]],
) -> tuple[list[tuple[str, str]], pa.ChunkedArray]:
    """Read every file, write the rows of the manifest, and add what is noted of files to ``notes``.

    Returns:
        Path and reason of each bad file; the SHA-256 of every file, null of a bad one.
    """
    bad: list[tuple[str, str]] = []
    sha256: list[pa.Array] = []
    batches = listed.to_batches(max_chunksize=_BLOCK)
    work = map(_files, batches)
    several = ordered_map if listed.num_rows >= _MANY else threaded_map
    done = 0
    for batch, rows in zip(batches, several(examine, work, jobs), strict=True):
        write(_joined(batch, rows))
        bad += [(str(batch["path"][i]), row.error) for i, row in enumerate(rows) if row.error]
        notes += [(str(batch["path"][i]), row.note) for i, row in enumerate(rows) if row.note]
        sha256.append(pa.array([None if row.error else row.sha256 for row in rows], pa.string()))
        done += len(rows)
        watch(done, listed.num_rows)
    return bad, pa.chunked_array(sha256)


def _files(batch: pa.RecordBatch) -> list[tuple[str, str | None]]:
    """Path of each file, and what its listing says against it."""
    return list(zip(batch["path"].to_pylist(), batch["error"].to_pylist(), strict=True))


def _joined(batch: pa.RecordBatch, rows: list[FileInfo]) -> pa.RecordBatch:
    """Rows of the manifest: what was listed and what was found; ``prepare`` fills the rest."""
    columns = {name: batch[name] for name in _LISTED.names}
    for name in ("width", "height", "format", "bytes", "sha256", "jpeg_quality", "error"):
        columns[name] = pa.array([getattr(row, name) for row in rows], SCHEMA.field(name).type)
    empty = {name: pa.nulls(len(rows), SCHEMA.field(name).type) for name in ("phash", "face")}
    columns |= empty
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)
