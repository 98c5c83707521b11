"""Files that are sent: written to the case's folder bit by bit as they come, hashed on the way.

Nothing of a request is kept in memory but the bit that came last. A file has a name of its own on
the disk; what the sender called it is a text that is cleaned and shown. Nothing is decoded here,
and nothing is served back as it came.
"""

import hashlib
import os
import secrets
import unicodedata
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from owdfa.errors import UserError
from owdfa.files import writing_error
from owdfa.serve.settings import ServeSettings

FOLDER = "uploads"
MAX_NAME = 255
"""Bytes of a name."""
_MAX_SUFFIX = 16  # bytes: copies in the case are named by SHA-256 and the suffix
_UNNAMED = "unnamed"
_BIT = 2**18  # bytes that are written together
_SYNCED = 8  # files that are put on the disk at the same time
_MAX_HEADER, _MAX_HEADERS = 4096, 16  # bytes of a part's header, and number of them
_OVERHEAD = 4096  # bytes a file that a form takes besides it
_FORM = "multipart/form-data"
_RAW = ("image/", "video/", "application/octet-stream")


class Upload(NamedTuple):
    """A file that was received whole."""

    name: str  # as the sender named it, without folders and control characters
    path: Path  # where it is
    sha256: str
    num_bytes: int


class RefusedError(UserError):
    """What was sent is not taken.

    Attributes:
        status: Of HTTP, that says why.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def clean_name(name: str) -> str:
    """A name to show: no folders, no control characters or marks of direction, few bytes."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    # Cc, Cf, Cs, Co, Cn: what is not seen, turns the text around, or is no character.
    plain = "".join(" " if unicodedata.category(x)[0] in "CZ" else x for x in last)
    plain = " ".join(plain.split()).lstrip(".- ")
    while len(plain.encode()) > MAX_NAME:  # the end says of what kind it is
        plain = plain[1:]
    if len(Path(plain).suffix.encode()) > _MAX_SUFFIX:
        plain = plain.replace(".", "_")
    return plain or _UNNAMED


async def receive(request: Request, folder: Path, settings: ServeSettings) -> list[Upload]:
    """Write the files of a request to a folder; when this returns, they are on the disk.

    Args:
        request: ``multipart/form-data`` with files, or the bytes of one file, whose name is the
            query's ``name``.
        folder: Where they go, each under a name of its own.
        settings: Limits.

    Raises:
        RefusedError: It is too large, of another kind, or holds no file; nothing of it is left.
        UserError: The disk is full, or the folder cannot be written.
    """
    files = _Files(folder, settings)
    reader = _reader(request, files, settings)
    _check_length(request, settings)
    try:
        async for bit in _bits(request, settings):
            await anyio.to_thread.run_sync(reader.write, bit)
        await anyio.to_thread.run_sync(reader.finish)
        return files.done
    except MultipartParseError as error:
        await anyio.to_thread.run_sync(files.remove)
        raise RefusedError(400, f"the form cannot be read ({error})") from None
    except ClientDisconnect:
        await anyio.to_thread.run_sync(files.remove)
        raise RefusedError(400, "the connection ended before the request did") from None
    except OSError as error:
        await anyio.to_thread.run_sync(files.remove)
        raise RefusedError(507, str(writing_error(folder, error))) from None
    except BaseException:  # refused, or stopped: nobody was told that it was taken
        files.remove()
        raise


def _check_length(request: Request, settings: ServeSettings) -> None:
    """Refuse at once what says itself that it is too large; what lies is counted as it comes."""
    told = request.headers.get("content-length", "0")
    if told.isascii() and told.isdigit() and int(told) > _most(settings):
        raise _too_large(settings)


def _most(settings: ServeSettings) -> int:
    return settings.max_request + _OVERHEAD * settings.max_files


def _too_large(settings: ServeSettings) -> RefusedError:
    return RefusedError(413, f"a request may have {settings.max_request:,} bytes; send fewer files")


async def _bits(request: Request, settings: ServeSettings) -> AsyncIterator[bytes]:
    """The body of a request, some at a time."""
    waiting, total = bytearray(), 0
    async for part in request.stream():
        total += len(part)
        if total > _most(settings):
            raise _too_large(settings)
        waiting += part
        if len(waiting) >= _BIT:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


class _Reader(Protocol):
    """Takes the body of a request."""

    def write(self, bit: bytes) -> None: ...
    def finish(self) -> None: ...


def _reader(request: Request, files: "_Files", settings: ServeSettings) -> _Reader:
    """What reads a request of its kind."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind.decode("latin-1") == _FORM and boundary:
        return _Form(boundary, files, settings)
    if kind.decode("latin-1").startswith(_RAW):
        return _Raw(request.query_params.get("name", ""), files)
    raise RefusedError(
        415, "send files as multipart/form-data, or one as image/*, video/* or"
        " application/octet-stream"
    )  # fmt: skip


class _Files:
    """Files as they are written."""

    def __init__(self, folder: Path, settings: ServeSettings) -> None:
        self.folder, self.settings = folder, settings
        self.done: list[Upload] = []
        self._open: _Open | None = None

    def begin(self, name: str) -> None:
        if len(self.done) == self.settings.max_files:
            raise RefusedError(413, f"a request may have {self.settings.max_files:,} files")
        self._open = _Open(self.folder / secrets.token_hex(16), clean_name(name))

    def write(self, data: bytes) -> None:
        assert self._open is not None
        if self._open.num_bytes + len(data) > self.settings.max_file:
            raise RefusedError(413, f"a file may have {self.settings.max_file:,} bytes")
        self._open.write(data)

    def end(self) -> None:
        assert self._open is not None
        made, self._open = self._open.close(), None
        self.done.append(made)

    def remove(self) -> None:
        """Forget what was written."""
        if self._open is not None:
            self._open.stream.close()
            self._open.path.unlink(missing_ok=True)
        for each in self.done:
            each.path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Put the files on the disk, and then their names; at once, it takes less than in turn."""
        if not self.done:
            raise RefusedError(400, "the request holds no file")
        with ThreadPoolExecutor(_SYNCED) as threads:
            list(threads.map(_sync, (each.path for each in self.done)))
        _sync(self.folder)


def _sync(path: Path) -> None:
    """Have a file or a folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Open:
    """A file that is being written."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.num_bytes = path, name, 0
        self.stream = path.open("xb", buffering=0)
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.stream.write(rest) :]
        self._hash.update(data)
        self.num_bytes += len(data)

    def close(self) -> Upload:
        self.stream.close()
        return Upload(self.name, self.path, self._hash.hexdigest(), self.num_bytes)


class _Raw:
    """A body that is a file."""

    def __init__(self, name: str, files: _Files) -> None:
        self._files, self._name, self._begun = files, name, False

    def write(self, bit: bytes) -> None:
        if not self._begun:
            self._files.begin(self._name)
            self._begun = True
        self._files.write(bit)

    def finish(self) -> None:
        if self._begun:
            self._files.end()
        self._files.sync()


class _Form:
    """A body of parts; those with a file name are files, the others are left aside."""

    def __init__(self, boundary: bytes, files: _Files, settings: ServeSettings) -> None:
        self._files, self._settings = files, settings
        self._num_parts, self._ended, self._is_file = 0, False, False
        self._field, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin, "on_header_field": self._name,
                    "on_header_value": self._text, "on_header_end": self._header,
                    "on_headers_finished": self._start, "on_part_data": self._data,
                    "on_part_end": self._part_end, "on_end": self._end,
                },
                max_size=_most(settings) + _OVERHEAD,
            )  # fmt: skip
        except ValueError as error:  # its kind for a boundary
            raise RefusedError(400, f"the form cannot be read ({error})") from None

    def write(self, bit: bytes) -> None:
        self._parser.write(bit)

    def finish(self) -> None:
        self._parser.finalize()
        if not self._ended:
            raise RefusedError(400, "the form ends before its last boundary")
        self._files.sync()

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > 2 * self._settings.max_files:
            raise RefusedError(413, f"a form may have {2 * self._settings.max_files:,} parts")
        self._headers, self._is_file = {}, False

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_headers()

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        too_long = len(self._field) + len(self._value) > _MAX_HEADER
        if too_long or len(self._headers) > _MAX_HEADERS:
            raise RefusedError(400, "the form cannot be read (a part of it has endless headers)")

    def _header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _start(self) -> None:
        told = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(told.decode("latin-1"))
        name = options.get(b"filename")
        if name:  # a form's field for files sends an empty name where none was chosen
            self._is_file = True
            self._files.begin(name.decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._files.write(data[start:end])

    def _part_end(self) -> None:
        if self._is_file:
            self._files.end()

    def _end(self) -> None:
        self._ended = True
