"""Prepare: detect faces and crop once, so that training reads pixels in microseconds.

Crops are made in a hidden folder beside the store. It is renamed to the store when it is whole;
where a store is there already, the folder holds what that lacks, and is appended to it. A run that
was stopped, in whatever way, continues with what is missing, and the result is bit-identical.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.files import read_json, read_table, write_json, write_table, writing_error
from owdfa.images.bad import check_bad, check_place
from owdfa.images.cropping import File, crop_chunk
from owdfa.images.decode import DECODER
from owdfa.images.faces import Fit, check_faces
from owdfa.images.journal import Journal
from owdfa.images.store import (
    ABSENT,
    CHANGED,
    IDS,
    Store,
    StoreBasis,
    append,
    check_basis,
    write_notes,
)
from owdfa.images.workers import num_processes, ordered_map
from owdfa.progress import OnProgress, no_progress
from owdfa.records.manifest import FACE, SCHEMA, Manifest
from owdfa.records.rows import sorted_by_id

_LISTED = pa.schema([IDS.field("id"), IDS.field("sha256")])
_STORE_FILES = ("pixels.bin", "ids.parquet", "store.json")


def prepare(  # noqa: PLR0913  the options of the command
    manifest: Path,
    output: Path,
    *,
    faces: str = "none",
    size: int = 292,
    fit: Fit = "resize",
    jobs: int = 0,
    max_bad: float = 0.01,
    on_progress: OnProgress = no_progress,
) -> Store:
    """Crop every usable image of a manifest into the store ``output``.

    Then note hash, face and, for an image that turned out bad, its error in the manifest, and in
    it where the store is. Bad images are also listed in ``<output>.bad.txt``. Run again after a
    kill, it continues where it was. A store that is there is kept: only images that it lacks are
    cropped, those that turned out bad are tried again, and the manifest is filled. What class and
    group an image has does not matter here.

    Args:
        manifest: What ``scan`` wrote; it is replaced.
        output: Folder of the store.
        faces: Name of the face detector: ``"dlib"``, or ``"none"`` for the whole image.
        size: Side of the crops in pixels.
        fit: ``"resize"``, or ``"native"`` to cut crops of that size out of the middle.
        jobs: Number of processes; 0 is one a core.
        max_bad: Bad images to tolerate: a share of all when below 1, else a count.
        on_progress: Called with (images done, images in all).

    Returns:
        The store.

    Raises:
        UserError: A setting does not fit, ``output`` was prepared with other settings or holds an
            image with other content, too many images are bad, or the disk is full.
    """
    check_faces(faces)
    if size < 8 or jobs < 0:
        raise UserError(
            f"prepare: size {size}, jobs {jobs}: size must be 8 or more, jobs 0 or more"
        )
    if fit not in get_args(Fit):
        raise UserError(f"prepare: fit {fit!r}: take one of {', '.join(get_args(Fit))}")
    images = Manifest.read(manifest)
    rows = sorted_by_id(images.usable().table)
    if not rows.num_rows:
        raise UserError(f"{manifest}: lists no usable image; scan a place that holds some")
    output = output.absolute()
    check_place(output)
    work = _Work(output, rows, StoreBasis(size, faces, DECODER, fit), jobs, max_bad, on_progress)
    try:
        failures = _crop_all(work)
    except OSError as error:
        raise writing_error(output, error) from error
    store = Store.open(output)
    _filled(images, store, failures).write(manifest)
    return store


class _Work(NamedTuple):
    """What is to be done."""

    output: Path
    rows: pa.Table  # usable images of the manifest, in order of id
    basis: StoreBasis
    jobs: int
    max_bad: float
    watch: OnProgress

    @property
    def folder(self) -> Path:
        """Where crops lie until they are part of the store."""
        return self.output.with_name(f".{self.output.name}.part")

    def missing(self) -> pa.Table:
        """Rows of which the store has no crop.

        Raises:
            UserError: ``output`` is no store, was prepared otherwise, or holds an image of another
                content.
        """
        if not self.output.exists() or (self.output.is_dir() and not any(self.output.iterdir())):
            return self.rows
        if not (self.output / "store.json").is_file():
            raise UserError(
                f"{self.output}: exists but is not a crop store; choose another place with -o"
            )
        store = Store.open(self.output)
        check_basis(self.output, store.basis, self.basis)
        found = store.find(self.rows)
        if (found == CHANGED).any():
            name = self.rows["id"][int((found == CHANGED).argmax())]
            raise UserError(
                f"{self.output}: holds image {str(name)!r} as it was before its file changed; "
                "choose another place with -o, or delete the store first"
            )
        return self.rows.filter(pa.array(found == ABSENT))


def _crop_all(work: _Work) -> dict[str, str]:
    """Crop what the store lacks; return why images are bad, by id."""
    missing = work.missing()
    if _is_whole(work.folder) or (missing.num_rows and (work.folder / "basis.json").exists()):
        with _claimed(work.folder):
            _take_over(work, missing)
        missing = work.missing()
    if not missing.num_rows:
        return {}
    with _claimed(work.folder):
        _begin(work, missing)
        num_there = work.rows.num_rows - missing.num_rows
        with closing(Journal(work.folder, missing.num_rows, work.basis.size)) as journal:
            _crop_missing(journal, missing, work, num_there)
            failures = _failures(work, missing, journal.error)
            journal.compact()
        write_notes(work.folder, _table(missing, journal), work.basis, failures)
        _deliver(work)
    return failures


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder in which crops are made."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another process is preparing this store") from None
        yield
    finally:
        os.close(handle)


def _is_whole(folder: Path) -> bool:
    """Whether only its delivery is missing: a run was killed just before its end."""
    return (folder / "store.json").exists()


def _begin(work: _Work, missing: pa.Table) -> None:
    """Note which images are cropped here, and how."""
    note = work.folder / "basis.json"
    if not note.exists():
        _clear(work.folder)
        write_table(work.folder / "images.parquet", missing.select(_LISTED.names), {})
        write_json(note, work.basis._asdict())


def _take_over(work: _Work, missing: pa.Table) -> None:
    """Deliver what a killed run left, unless it had started on the very images that are missing."""
    folder = work.folder
    if not _is_whole(folder):
        listed = _listed(work)
        if listed.equals(missing.select(_LISTED.names)):
            return
        with closing(Journal(folder, listed.num_rows, work.basis.size)) as journal:
            journal.compact()
        table = _table(listed, journal)
        if not table.num_rows:
            _clear(folder)
            return
        write_notes(folder, table, work.basis, {})
    _deliver(work)


def _listed(work: _Work) -> pa.Table:
    """Which images a killed run had started on.

    Raises:
        UserError: It was run with other settings.
    """
    what = "the beginning of a store"
    note = read_json(work.folder / "basis.json", what=what)
    try:
        check_basis(work.folder, StoreBasis(**note), work.basis)
    except TypeError:
        raise UserError(f"{work.folder}: is of another version; delete it") from None
    return read_table(work.folder / "images.parquet", _LISTED, what=what)[0]


def _deliver(work: _Work) -> None:
    """Make the crops a store, or add them to the one that is there."""
    if (work.output / "store.json").exists():
        append(work.output, work.folder)
        _clear(work.folder)
        work.folder.rmdir()
        return
    for path in work.folder.iterdir():
        if path.name not in _STORE_FILES:
            path.unlink()
    work.folder.replace(work.output)


def _clear(folder: Path) -> None:
    """Delete what is in the folder, beginning with what makes it whole."""
    (folder / "store.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.unlink()


def _crop_missing(journal: Journal, rows: pa.Table, work: _Work, num_there: int) -> None:
    chunks = journal.missing()
    files = (_files(rows, journal.rows(chunk)) for chunk in chunks)
    crop = partial(crop_chunk, faces=work.basis.faces, size=work.basis.size, fit=work.basis.fit)
    done = num_there + journal.num_done
    jobs = max(1, min(num_processes(work.jobs), len(chunks)))
    for chunk, cropped in zip(chunks, ordered_map(crop, files, jobs), strict=True):
        journal.add(chunk, cropped)
        done += len(cropped.error)
        if work.watch is not None:
            work.watch(done, work.rows.num_rows)


def _files(rows: pa.Table, chunk: range) -> list[File]:
    part = rows.slice(chunk.start, len(chunk))
    paths, digests = part["path"].to_pylist(), part["sha256"].to_pylist()
    return [File(path, sha256) for path, sha256 in zip(paths, digests, strict=True)]


def _failures(work: _Work, rows: pa.Table, errors: list[str | None]) -> dict[str, str]:
    """Why images are bad, by id; listed beside the store, and too many of them refused."""
    bad = [
        (str(rows["id"][row]), str(rows["path"][row]), error)
        for row, error in enumerate(errors)
        if error is not None
    ]
    listed = [row[1:] for row in bad]
    check_bad(listed, work.rows.num_rows, work.output, work.max_bad, noun="images")
    return {name: error for name, _, error in bad}


def _table(rows: pa.Table, journal: Journal) -> pa.Table:
    """Rows of the store: the good images."""
    columns = {
        "id": rows["id"],
        "sha256": rows["sha256"],
        "phash": pa.array(journal.phash, pa.uint64()),
        "face": pa.array([face and face._asdict() for face in journal.face], FACE),
    }
    good = pa.array([error is None for error in journal.error])
    return pa.table(columns, schema=IDS).filter(good)


def _with_errors(table: pa.Table, failures: dict[str, str]) -> pa.Table:
    """Note in the manifest why images are bad."""
    if not failures:
        return table
    found = pc.index_in(table["id"], pa.array(failures.keys(), pa.string()))
    errors = pc.coalesce(pa.array(failures.values(), pa.string()).take(found), table["error"])
    return table.set_column(SCHEMA.get_field_index("error"), SCHEMA.field("error"), errors)


def _filled(images: Manifest, store: Store, failures: dict[str, str]) -> Manifest:
    """The manifest with what the store knows of each image."""
    table = _with_errors(images.table, failures)
    found = store.find(table)
    kept = pa.array(found, mask=found < 0)
    for name in ("phash", "face"):
        column = store.table[name].take(kept)
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
    return replace(images, table=table, store=store.folder)
