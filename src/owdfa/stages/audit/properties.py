"""Shortcuts: what the form of the files tells of their class, their JPEG tables among it."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.checks import shortcuts as checks
from owdfa.checks.shortcuts import Rating
from owdfa.images.jpeg import jpeg_traits
from owdfa.images.workers import num_processes, threaded_map
from owdfa.progress import OnProgress
from owdfa.stages.audit.findings import Finding
from owdfa.stages.audit.images import Images

_HEAD = 1 << 18  # bytes of a file that hold its tables, behind whatever a camera writes before
_CHUNK = 256  # files at a time


class Shortcuts(NamedTuple):
    """What properties of files tell."""

    findings: list[Finding]
    ratings: tuple[Rating, ...]
    notes: tuple[str, ...]


def shortcuts(images: Images, on_progress: OnProgress) -> Shortcuts:
    """Predict the class of images from properties of their files, cross-validated over groups.

    JPEG tables are read from the files, of which memory holds the first part of a few at a time.
    """
    if find_spec("sklearn") is None:
        note = (
            "shortcuts and doubtful labels were not looked for; that needs scikit-learn (pip"
            " install 'owdfa[train]')"
        )
        return Shortcuts([], (), (note,))
    rows = checks.sample(images.table, ("source", "path"))
    tables, forms, num_missing = _read_traits(rows, on_progress)
    rows = rows.append_column("jpeg_tables", tables).append_column("jpeg_form", forms)
    ratings = tuple(checks.rate(rows))
    notes = []
    if num_missing:
        notes.append(f"JPEG tables of {num_missing} files were not read: the files are not there")
    return Shortcuts(_findings(ratings), ratings, tuple(notes))


def _findings(ratings: Sequence[Rating]) -> list[Finding]:
    """One for the form of the files, one for their source."""
    found = [each for each in ratings if each.shortcut]
    of_files = [each for each in found if "source" not in each.properties]
    alone = tuple(each.properties[0] for each in of_files if len(each.properties) == 1)
    findings = []
    if of_files:
        best = of_files[0].shortcut
        assert best is not None
        shown = best._replace(columns=alone or best.columns)
        findings.append(Finding("shortcut", str(shown)))
    for each in found:
        if each.properties == ("source",) and each.shortcut:
            line = str(each.shortcut).partition(", so a network")[0]
            line += ": what differs between collections may be learnt instead of traces"
            findings.append(Finding("shortcut", line))
    return findings


def _read_traits(rows: pa.Table, on_progress: OnProgress) -> tuple[pa.Array, pa.Array, int]:
    """Digest of the tables and form of each JPEG file, null of others; and how many are missing."""
    is_jpeg = np.asarray(rows["format"].to_pylist(), object) == "JPEG"
    wanted = np.flatnonzero(is_jpeg)
    paths = rows["path"].to_pylist()
    chosen = [paths[row] for row in wanted]
    chunks = (chosen[first : first + _CHUNK] for first in range(0, len(chosen), _CHUNK))
    tables: list[str | None] = [None] * len(rows)
    forms, missing, done = list(tables), 0, 0
    for chunk in threaded_map(_traits, chunks, num_processes(0)):
        for row, traits in zip(wanted[done:].tolist(), chunk, strict=False):
            if traits is None:
                missing += 1
            else:
                tables[row], forms[row] = traits
        done += len(chunk)
        on_progress(done, len(wanted), "JPEG tables")
    return pa.array(tables, pa.string()), pa.array(forms, pa.string()), missing


def _traits(paths: Sequence[str]) -> list[tuple[str | None, str | None] | None]:
    """Of each file; None of one that cannot be read."""
    return [_traits_of(path) for path in paths]


def _traits_of(path: str) -> tuple[str | None, str | None] | None:
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return jpeg_traits(head) or (None, None)
