"""Unpack an archive that somebody else made: zip, tar, tar.gz, tar.bz2 or tar.xz.

Regular files only, inside the target, and no more of them than ``Limits`` allow. Anything else in
an archive (a link, a device, ``../``, an absolute path, a name twice) makes the whole of it
refused, as no data set needs such things.
"""

import bz2
import gzip
import lzma
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from io import BufferedIOBase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from owdfa.errors import UserError
from owdfa.files import writing_error

_CHUNK = 2**20
_LONGEST_READ = 2**26  # tarfile reads a header's extension at once, however long it says it is
_SMALL = 2**24  # below this many bytes a ratio says nothing
_OPENERS: dict[bytes, Callable[[Path], BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class Limits(NamedTuple):
    """How much an archive may hold."""

    members: int = 2_000_000
    bytes: int = 2**40
    ratio: int = 50  # bytes unpacked for each byte packed: images hardly shrink


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what else it is
    open: Callable[[], IO[bytes]]  # of a file


def unpack(archive: Path, target: Path, *, limits: Limits | None = None) -> None:
    """Unpack ``archive`` into the new folder ``target``, which appears whole or not at all.

    A single folder in the archive that is named like ``target`` becomes the target itself.

    Raises:
        UserError: ``target`` exists, the disk is full, or the archive is damaged or holds what it
            may not hold.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: no such file; an archive is needed here")
    if target.exists():
        raise UserError(f"{target}: exists; remove it to unpack {archive} again")
    scratch = target.with_name(f".{target.name[:120]}.{secrets.token_hex(4)}.part")
    try:
        scratch.mkdir(parents=True)
        _extract(archive, scratch, limits or Limits())
        inner = scratch / target.name
        only = [path.name for path in scratch.iterdir()] == [target.name] and inner.is_dir()
        (inner if only else scratch).rename(target)
    except OSError as error:
        raise writing_error(target, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, folder: Path, limits: Limits) -> None:
    """Write every member below ``folder``."""
    room = min(limits.bytes, max(_SMALL, limits.ratio * archive.stat().st_size))
    with _damage_reported(archive), closing(_members(archive)) as members:
        for number, member in enumerate(members, 1):
            if number > limits.members:
                raise UserError(f"{archive}: holds more than {limits.members:,} files; refused")
            path = folder / _inside(member, archive)
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            room -= _write(member, path, room)
            if room < 0:
                raise UserError(f"{archive}: unpacks to far more than its size (a bomb?); refused")


def _write(member: _Member, path: Path, room: int) -> int:
    """Copy until the end or until more than ``room`` bytes are written; return how many were."""
    written = 0
    with member.open() as content, path.open("xb") as stream:
        while written <= room and (chunk := content.read(_CHUNK)):
            written += stream.write(chunk)
    return written


def _inside(member: _Member, archive: Path) -> PurePosixPath:
    """The path of a member below the target.

    Raises:
        UserError: It leads out of it, or the member is no regular file or folder.
    """
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(member.name).drive
    if outside or set("\\\0") & set(member.name):
        raise UserError(f"{archive}: {member.name!r} leads out of the folder; refused")
    if member.kind not in ("file", "folder"):
        raise UserError(f"{archive}: {member.name!r} is {member.kind}; refused")
    return path


def _members(archive: Path) -> Generator[_Member]:
    """What an archive holds, in its order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                yield _Member(entry.orig_filename, _zip_kind(entry), partial(packed.open, entry))
        return
    with _decompressed(archive) as stream, tarfile.TarFile(fileobj=stream) as packed_tar:
        for info in packed_tar:
            yield _Member(info.name, _tar_kind(info), partial(_content, packed_tar, info))
        if len(stream.read(_LONGEST_READ)) == _LONGEST_READ:  # also checks the sum at the end
            raise tarfile.ReadError("bytes after the end")


def _content(packed: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = packed.extractfile(info)
    assert content is not None, "only asked for of regular files"
    return content


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    return "folder" if entry.is_dir() else "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() else "a link or a device"


class _Stream(BufferedIOBase):
    """A stream that refuses to be read in one piece, which would fill the memory."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError("a header of absurd length")
        return self._stream.read(size)

    def seek(self, position: int, whence: int = 0, /) -> int:
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _decompressed(archive: Path) -> Iterator[_Stream]:
    """The bytes of a tar file that may be compressed."""
    with archive.open("rb") as plain:
        start = plain.read(6)
        plain.seek(0)
        openers = [opener for sign, opener in _OPENERS.items() if start.startswith(sign)]
        with openers[0](archive) if openers else plain as stream:
            yield _Stream(stream)


@contextmanager
def _damage_reported(archive: Path) -> Iterator[None]:
    """Turn what a damaged or unusual archive raises into one line."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        name = Path(error.filename).name
        raise UserError(f"{archive}: holds {name!r} twice; refused") from None
    except (EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
