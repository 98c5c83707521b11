"""Files that appear whole or not at all, and tables with a checked schema."""

import errno
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from owdfa.errors import UserError
from owdfa.signatures import identify_file

IsOurs = Callable[[Path], bool]
"""Whether a file that exists is one that the writer wrote earlier, and may replace."""

_METADATA_KEY = b"owdfa"
_GROUP_BYTES = 1 << 24  # of a row group that is written bit by bit
_HEAD = 2000  # bytes of a file that its mark is in


def nothing_is_ours(path: Path) -> bool:  # noqa: ARG001  an IsOurs
    """For what is written once: every file that exists is somebody else's."""
    return False


def check_replaceable(path: Path, is_ours: IsOurs) -> None:
    """Refuse to replace what the writer did not write; an empty file is nobody's loss.

    Raises:
        UserError: ``path`` is a folder, a device, or a file of another kind.
    """
    try:
        found = path.stat()
    except OSError:  # nothing is there, or the write itself will say why it cannot be
        return
    if stat.S_ISREG(found.st_mode):
        with suppress(OSError):
            if not found.st_size or is_ours(path):
                return
        what = f"exists and is not what this command writes there ({_kind(path)})"
    else:
        what = "is a folder" if path.is_dir() else "is not a regular file"
    raise UserError(f"{path}: {what}; choose another place with -o, or move it away")


def _kind(path: Path) -> str:
    try:
        return identify_file(path).name
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


@contextmanager
def atomic(path: Path, is_ours: IsOurs = nothing_is_ours) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` when the block succeeds.

    A crash, an exception or a full disk leaves whatever stood under ``path`` untouched.

    Args:
        path: The file.
        is_ours: What may be replaced; by default nothing.

    Raises:
        UserError: Something else is there, the disk is full, or the folder cannot be written.
    """
    check_replaceable(path, is_ours)
    temporary = path.with_name(f".{path.name[:120]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        check_replaceable(path, is_ours)  # the block may have taken hours
        temporary.replace(path)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def is_unfinished(path: Path) -> bool:
    """Whether a file is what ``atomic`` leaves of one when the process is killed."""
    return path.name.startswith(".") and path.suffix == ".part"


def check_new(folder: Path, what: str) -> None:
    """Refuse a folder in which nothing can begin.

    Args:
        folder: It may be missing, empty, or hold what a killed process left of a file.
        what: That is to begin, in a word or two, e.g. "case".

    Raises:
        UserError: It holds something, or is a file.
    """
    if folder.is_file():
        raise UserError(f"{folder}: is a file, and a {what} is a folder; choose another -o")
    if folder.exists() and not all(is_unfinished(path) for path in folder.iterdir()):
        raise UserError(f"{folder}: holds files and is no {what}; choose another -o")


def writing_error(path: Path, error: OSError) -> UserError:
    """Say in one line why ``path`` could not be written and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; free some space and run the command again")
    reason = error.strerror or str(error)
    return UserError(f"{path}: cannot be written ({reason}); choose another place with -o")


def write_text(path: Path, text: str, is_ours: IsOurs | None = None) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Bytes of file names that are not UTF-8 are written out as escapes, which JSON reads back.

    Args:
        path: The file.
        text: Its content.
        is_ours: What may be replaced; None for a file of the same content alone.

    Raises:
        UserError: As ``atomic``.
    """
    content = text.encode(errors="backslashreplace")
    with atomic(path, is_ours or (lambda found: found.read_bytes() == content)) as temporary:
        temporary.write_bytes(content)


def holds_mark(path: Path, mark: bytes) -> bool:
    """Whether a mark of ours is among the first bytes of a file: a text that only we begin with."""
    with path.open("rb") as stream:
        return mark in stream.read(_HEAD)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all.

    Replaced is an object of the same schema and mostly the same keys, and nothing else.

    Raises:
        UserError: As ``atomic``.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_text(path, text, lambda found: _is_alike(found, value))


def _is_alike(path: Path, value: Any) -> bool:
    """Whether a file holds an earlier state of ``value``; a later version may have other keys."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict) or not isinstance(value, dict):
        return bool(found == value)
    common = found.keys() & value.keys()
    alike = 2 * len(common) > len(found.keys() | value.keys())
    return alike and found.get("schema") == value.get("schema")


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON file that an earlier stage wrote.

    Args:
        path: The file.
        what: What it should be, for the error message, e.g. ``"a split"``.

    Raises:
        UserError: It is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {what} is needed here") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as {what} ({error})") from None


def write_table(path: Path, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write a Parquet file with ``metadata`` kept as JSON in its schema.

    Replaced is a table of the same columns that this library wrote, and nothing else.

    Raises:
        UserError: As ``atomic``.
    """
    noted = table.replace_schema_metadata(_noted(metadata))
    with atomic(path, _table_of(table.schema)) as temporary, _for_arrow(temporary, "wb") as file:
        pq.write_table(noted, file, compression="zstd")


@contextmanager
def _for_arrow(path: Path, mode: Literal["rb", "wb"]) -> Iterator[Any]:
    """What pyarrow can open: it takes no path with bytes that are not UTF-8."""
    if is_utf8(path):
        yield path
    else:
        with path.open(mode) as stream:
            yield stream


def is_utf8(path: Path) -> bool:
    """Whether the bytes of a path are UTF-8: not every library takes another."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _table_of(schema: pa.Schema) -> IsOurs:
    """What knows tables of these columns that this library wrote."""

    def is_ours(path: Path) -> bool:
        try:
            with _for_arrow(path, "rb") as file:
                found = pq.read_schema(file)
        except (OSError, pa.ArrowInvalid):
            return False
        return _METADATA_KEY in (found.metadata or {}) and found.names == schema.names

    return is_ours


@contextmanager
def table_writer(
    path: Path,
    schema: pa.Schema,
    metadata: Mapping[str, Any],
    group_bytes: int = _GROUP_BYTES,
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield what writes record batches to a Parquet file, which appears when the block succeeds.

    The file is one of ``write_table``, and replaces what that does. Memory holds a row group of
    16 MiB, however many rows there are; batches may be as small as you like.

    Args:
        path: The file.
        schema: Of every batch.
        metadata: Kept as JSON in the schema.
        group_bytes: Of a row group; with 0 each batch is one.

    Raises:
        UserError: As ``atomic``; an ``OSError`` in the block counts as a failure to write.

    Example:
        >>> with table_writer(path, SCHEMA, {}) as write:  # doctest: +SKIP
        ...     for batch in batches:
        ...         write(batch)
    """
    waiting: list[pa.RecordBatch] = []
    num_bytes = 0
    noted = schema.with_metadata(_noted(metadata))
    with (
        atomic(path, _table_of(schema)) as temporary,
        _for_arrow(temporary, "wb") as place,
        pq.ParquetWriter(place, noted, compression="zstd") as file,
    ):

        def flush() -> None:
            file.write_table(pa.Table.from_batches(waiting, schema=schema).combine_chunks())
            waiting.clear()

        def write(batch: pa.RecordBatch) -> None:
            nonlocal num_bytes
            waiting.append(batch)
            num_bytes += batch.nbytes
            if num_bytes >= group_bytes:
                flush()
                num_bytes = 0

        yield write
        flush()


def _noted(metadata: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {_METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}


def read_table(path: Path, schema: pa.Schema, *, what: str) -> tuple[pa.Table, dict[str, Any]]:
    """Read a Parquet file that an earlier stage wrote; return its table and metadata.

    Only the columns of ``schema`` are read.

    Raises:
        UserError: It is missing, is not Parquet, or lacks a column of ``schema``.
    """
    try:
        with _for_arrow(path, "rb") as file:
            found = pq.read_schema(file)
            columns = [name for name in schema.names if name in found.names]
            table = pq.read_table(file, columns=columns, partitioning=None)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {what} is needed here") from None
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as {what} ({reason})") from None
    missing = [name for name in schema.names if name not in columns]
    note = (found.metadata or {}).get(_METADATA_KEY)
    if missing or note is None:
        lacks = f"column {missing[0]!r}" if missing else "the note that owdfa writes into it"
        raise UserError(f"{path}: is not {what}; it lacks {lacks}")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{path}: is not {what} ({str(error).splitlines()[0]})") from None
    return table, json.loads(note)
