"""Prepare: detect faces and crop once, so that training reads pixels in microseconds.

The store grows in a hidden folder beside its final place and is renamed when it is whole. A run
that was stopped, in whatever way, goes on with what is missing, and the result is the same to the
byte.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.files import read_json, write_json, writing_error
from owdfa.images.bad import check_bad, check_listing
from owdfa.images.cropping import File, crop_chunk
from owdfa.images.decode import DECODER
from owdfa.images.faces import check_faces
from owdfa.images.journal import Journal
from owdfa.images.store import IDS, Store, StoreBasis, check_basis, write_notes
from owdfa.images.workers import num_processes, ordered_map
from owdfa.records.manifest import FACE, SCHEMA, Manifest
from owdfa.records.rows import in_order, places

Watch = Callable[[int, int], None]

_STORE_FILES = ("pixels.bin", "ids.parquet", "store.json")


def prepare(  # noqa: PLR0913  the options of the command
    manifest: Path,
    output: Path,
    *,
    faces: str = "none",
    size: int = 292,
    jobs: int = 0,
    max_bad: float = 0.01,
    on_progress: Watch | None = None,
) -> Store:
    """Crop every usable image of a manifest into the store ``output``.

    Then note hash, face and, for an image that turned out bad, its error in the manifest, and in
    it where the store is. Bad images are also listed in ``<output>.bad.txt``. Run again after a
    kill, it goes on where it was; run again when all is done, it only fills the manifest.

    Args:
        manifest: What ``scan`` wrote; it is replaced.
        output: Folder of the store.
        faces: Name of the face detector: ``"dlib"``, or ``"none"`` for the whole image.
        size: Side of the crops in pixels.
        jobs: Number of processes; 0 is one a core.
        max_bad: Bad images to tolerate: a share of all when below 1, else a count.
        on_progress: Called with (images done, images in all).

    Returns:
        The store.

    Raises:
        UserError: A setting does not fit, ``output`` was prepared from another manifest or with
            other settings, too many images are bad, or the disk is full.
    """
    check_faces(faces)
    if size < 8 or jobs < 0:
        raise UserError(
            f"prepare: size {size}, jobs {jobs}: size must be 8 or more, jobs 0 or more"
        )
    images = Manifest.read(manifest)
    basis = StoreBasis(size, faces, DECODER, images.digest())
    output = output.absolute()
    check_listing(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        store = _reopen(output, images, basis)
    else:
        store = _make(output, images, basis, jobs, max_bad, on_progress)
    _filled(images, store).write(manifest)
    return store


def _reopen(output: Path, images: Manifest, basis: StoreBasis) -> Store:
    """Open a store that is whole already, when it is the one that was asked for."""
    if not (output / "store.json").is_file():
        raise UserError(f"{output}: stands there and is not a store; choose another place with -o")
    store = Store.open(output)
    if images.digest() == store.manifest_digest:  # the manifest has been filled before
        basis = basis._replace(scanned=store.basis.scanned)
    check_basis(output, store.basis, basis)
    return store


def _make(
    output: Path,
    images: Manifest,
    basis: StoreBasis,
    jobs: int,
    max_bad: float,
    watch: Watch | None,
) -> Store:
    """Crop all images in a hidden folder, as far as that is not done, and rename it."""
    rows = in_order(images.usable().table)
    if not rows.num_rows:
        raise UserError(f"{output}: the manifest has no usable image; scan a place that has some")
    folder = output.with_name(f".{output.name}.part")
    try:
        with _claimed(folder, basis):
            if not (folder / "store.json").exists():  # else it was killed just before the end
                with closing(Journal(folder, rows.num_rows, basis.size)) as journal:
                    _crop_missing(journal, rows, basis, jobs, watch)
                    failures = _failures(output, rows, journal.error, max_bad)
                    journal.compact()
                noted = replace(images, table=_with_errors(images.table, failures))
                table = _table(rows, journal)
                write_notes(folder, table, basis, noted.digest(), failures)
            for path in folder.iterdir():
                if path.name not in _STORE_FILES:
                    path.unlink()
            folder.replace(output)
    except OSError as error:
        raise writing_error(output, error) from error
    return Store.open(output)


@contextmanager
def _claimed(folder: Path, basis: StoreBasis) -> Iterator[None]:
    """Keep other processes, and other settings, out of the folder in which a store grows."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another process is preparing this store") from None
        note = folder / "basis.json"
        if note.exists():
            found = StoreBasis(**read_json(note, what="the beginning of a store"))
            check_basis(folder, found, basis)
        else:
            write_json(note, basis._asdict())
        yield
    finally:
        os.close(handle)


def _crop_missing(
    journal: Journal, rows: pa.Table, basis: StoreBasis, jobs: int, watch: Watch | None
) -> None:
    chunks = journal.missing()
    work = (_files(rows, journal.rows(chunk)) for chunk in chunks)
    crop = partial(crop_chunk, faces=basis.faces, size=basis.size)
    done = journal.num_done
    jobs = max(1, min(num_processes(jobs), len(chunks)))
    for chunk, cropped in zip(chunks, ordered_map(crop, work, jobs), strict=True):
        journal.add(chunk, cropped)
        done += len(cropped.error)
        if watch is not None:
            watch(done, rows.num_rows)


def _files(rows: pa.Table, chunk: range) -> list[File]:
    part = rows.slice(chunk.start, len(chunk))
    paths, digests = part["path"].to_pylist(), part["sha256"].to_pylist()
    return [File(path, sha256) for path, sha256 in zip(paths, digests, strict=True)]


def _failures(
    output: Path, rows: pa.Table, errors: list[str | None], max_bad: float
) -> dict[str, str]:
    """Why images are bad, by id; listed beside ``output``, and too many of them refused."""
    bad = [
        (str(rows["id"][row]), str(rows["path"][row]), error)
        for row, error in enumerate(errors)
        if error is not None
    ]
    check_bad([row[1:] for row in bad], len(errors), output, max_bad, noun="images")
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


def _filled(images: Manifest, store: Store) -> Manifest:
    """The manifest with what the store knows of each image."""
    table = _with_errors(images.table, store.failures)
    found = places(table["id"], store.table["id"])
    kept = pa.array(found, mask=found < 0)
    for name in ("phash", "face"):
        column = store.table[name].take(kept)
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
    return replace(images, table=table, store=store.folder)
