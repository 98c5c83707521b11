"""Unpack a zip archive that somebody else made.

Regular files only, inside the target, and no more of them than ``Limits`` allow. Anything else in
an archive (a link, a device, ``../``, an absolute path, a name twice) makes the whole of it
refused, as no data set needs such things.
"""

import lzma
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from owdfa.errors import UserError
from owdfa.files import writing_error

_CHUNK = 2**20
_SMALL = 2**24  # below this many bytes a ratio is not checked


class Limits(NamedTuple):
    """How much an archive may hold."""

    members: int = 2_000_000
    bytes: int = 2**40
    ratio: int = 50  # bytes unpacked for each byte packed: images hardly shrink


def unpack(archive: Path, target: Path, *, limits: Limits | None = None) -> None:
    """Unpack ``archive`` into the new folder ``target``, which appears whole or not at all.

    A single folder in the archive that is named like ``target`` becomes the target itself.

    Raises:
        UserError: ``target`` exists, the disk is full, or the archive is damaged or holds what it
            must not hold.
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


def replace(archive: Path, target: Path) -> None:
    """Unpack ``archive`` into ``target``, in place of the folder that is there, if any.

    When the archive is refused, what was there stays.

    Raises:
        UserError: As ``unpack``, or ``target`` is no folder.
    """
    if not target.is_dir():
        unpack(archive, target)
        return
    old = target.with_name(f".{target.name[:120]}.old")
    try:
        shutil.rmtree(old, ignore_errors=True)  # of a replacement that was stopped
        target.rename(old)
    except OSError as error:
        raise writing_error(target, error) from error
    try:
        unpack(archive, target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _extract(archive: Path, folder: Path, limits: Limits) -> None:
    """Write every member below ``folder``."""
    bytes_left = min(limits.bytes, max(_SMALL, limits.ratio * archive.stat().st_size))
    with _damage_reported(archive), zipfile.ZipFile(archive) as packed:
        if len(packed.infolist()) > limits.members:
            raise UserError(f"{archive}: holds more than {limits.members:,} files; refused")
        for member in packed.infolist():
            path = folder / _inside(member, archive)
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            bytes_left -= _write(packed, member, path, bytes_left)
            if bytes_left < 0:
                raise UserError(f"{archive}: unpacks to far more than its size (a bomb?); refused")


def _write(packed: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> int:
    """Copy until the end or until more than ``most`` bytes are written; return how many were."""
    written = 0
    with packed.open(member) as content, path.open("xb") as stream:
        while written <= most and (chunk := content.read(_CHUNK)):
            written += stream.write(chunk)
    return written


def _inside(member: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    """The path of a member below the target.

    Raises:
        UserError: It leads out of it, or the member is no regular file or folder.
    """
    name = member.orig_filename
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive
    if outside or set("\\\0") & set(name):
        raise UserError(f"{archive}: {name!r} leads out of the folder; refused")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UserError(f"{archive}: {name!r} is a link or a device; refused")
    return path


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
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
