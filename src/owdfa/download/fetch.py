"""Download files that are large and must be right: resumed where cut, checked, then renamed.

What arrives is kept in ``<name>.part`` until its size and SHA-256 are those announced. An address
announces them in a file ``SHA256SUMS``, as ``sha256sum *.zip > SHA256SUMS`` writes it; the Hugging
Face hub does so in the listing of a repository.
"""

import hashlib
import http.client
import json
import os
import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import owdfa
from owdfa import catalog
from owdfa.download.unpack import replace
from owdfa.errors import UserError
from owdfa.files import writing_error
from owdfa.progress import OnProgress, no_progress

MIRROR = "OWDFA_MIRROR"
"""The environment variable that names another address than the published one."""

_CHUNK = 2**20
_LONGEST_TEXT = 2**24
_TIMEOUT = 60.0  # seconds without a byte
_PAUSE = 1.0  # seconds before the connection is tried again; doubled each time
_ATTEMPTS = 5  # in a row without a single byte
_HUB = re.compile(r"(https://[^/]+)/(datasets/[^/]+/[^/]+)/resolve/([^/]+)/?")


class Published(NamedTuple):
    """A file that an address announces."""

    address: str
    size: int
    sha256: str


def get(
    name: str,
    output: Path,
    *,
    address: str | None = None,
    only: Sequence[str] = (),
    on_progress: OnProgress = no_progress,
) -> list[str]:
    """Download and unpack the archives of a data set: a folder each, below ``output``.

    What is there already is not fetched again, but for what ``only`` names: that is replaced as a
    whole, once its archive is there and right. Run it again after whatever went wrong.

    Args:
        name: A data set that is published as archives, e.g. ``"owdfa40"``.
        output: Folder to unpack into.
        address: Where the archives are; else that in ``OWDFA_MIRROR``, else the published one.
        only: Names of folders, or shell patterns: these alone, and again if they are there.
        on_progress: Called with (bytes there, bytes in all).

    Returns:
        Names of the folders that the address does not offer.

    Raises:
        UserError: The data set is not published so, has no folder of that name, the address cannot
            be reached or lacks a file, or what arrives is not what was announced.
    """
    adapter = catalog.load("datasets", name)
    if not hasattr(adapter, "DOWNLOAD"):
        raise UserError(f"{name}: is not published as archives; nothing to download")
    folders = _chosen(adapter.folders(), only)
    base = (address or os.environ.get(MIRROR) or adapter.DOWNLOAD).rstrip("/")
    files = published(base).items()
    offered = {Path(path).stem: file for path, file in files if path.endswith(".zip")}
    wanted = [folder for folder in folders if folder in offered]
    if not wanted:
        raise UserError(f"{base}: offers no archive of {name}, such as {folders[0]}.zip")
    total = sum(offered[folder].size for folder in wanted)
    done = 0
    for folder in wanted:
        file = offered[folder]
        if only or not (output / folder).exists():
            archive = output / f".{folder}.zip"  # hidden: no part of the data set
            fetch(file, archive, on_progress=_shifted(on_progress, done, total))
            replace(archive, output / folder)
            archive.unlink()
        done += file.size
        on_progress(done, total)
    return [folder for folder in folders if folder not in offered]


def _chosen(folders: list[str], only: Sequence[str]) -> list[str]:
    """The folders that are asked for: all of them, or those that are named."""
    for pattern in only:
        if not any(fnmatchcase(folder, pattern) for folder in folders):
            raise UserError(f"--only: no folder {pattern!r}{catalog.nearest(pattern, folders)}")
    return [each for each in folders if not only or any(fnmatchcase(each, p) for p in only)]


def published(base: str) -> dict[str, Published]:
    """The files that an address announces, by their path below it.

    Raises:
        UserError: It cannot be reached, or announces nothing that can be read.
    """
    hub = _HUB.fullmatch(base)
    if hub is not None:
        listing = f"{hub[1]}/api/{hub[2]}/tree/{hub[3]}?recursive=true"
        return _hub_files(base, listing, _text(listing))
    sums = f"{base}/SHA256SUMS"
    files = {}
    for line in _text(sums).splitlines():
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", line)
        if found is None:
            raise UserError(f"{sums}: is not what sha256sum writes: {line[:80]!r}")
        at = f"{base}/{quote(found[2])}"
        files[found[2]] = Published(at, _size(at), found[1])
    return files


def fetch(file: Published, target: Path, *, on_progress: OnProgress = no_progress) -> None:
    """Download one file, continuing ``<target>.part``; a complete ``target`` is left as it is.

    Raises:
        UserError: The address cannot be reached, breaks off again and again or refuses; the disk
            is full (what arrived is kept for the next time); or what arrived is not what was
            announced (it is removed, since it cannot be completed).
    """
    part = target.with_name(f"{target.name}.part")
    try:
        if target.exists() and _sha256(target) == file.sha256:
            return
        part.parent.mkdir(parents=True, exist_ok=True)
        _fill(file, part, on_progress)
        size, digest = part.stat().st_size, _sha256(part)
        if (size, digest) != (file.size, file.sha256):
            part.unlink()
            raise UserError(
                f"{file.address}: {size:,} bytes of SHA-256 {digest[:12]}... arrived, not "
                f"{file.size:,} of {file.sha256[:12]}...; run it again, or take another address"
            )
        part.replace(target)
    except OSError as error:
        raise writing_error(target, error) from error


def _fill(file: Published, part: Path, on_progress: OnProgress) -> None:
    """Append to ``part`` until it has the announced size, over as many connections as it takes."""
    have = part.stat().st_size if part.exists() else 0
    failures = 0
    while have < file.size:
        problem = _receive(file, part, have, on_progress)
        if problem is None:
            return
        failures = 0 if part.stat().st_size > have else failures + 1
        have = part.stat().st_size
        if failures == _ATTEMPTS:
            raise UserError(f"{file.address}: breaks off ({problem}); run it again to continue")
        time.sleep(_PAUSE * 2**failures)


def _receive(file: Published, part: Path, have: int, on_progress: OnProgress) -> str | None:
    """Append what one connection brings, at most a byte more than announced.

    Returns:
        Why the connection ended early; None when the server has sent everything.
    """
    part.touch()
    try:
        response = _open(file.address, {"Range": f"bytes={have}-"} if have else {})
    except HTTPError as error:
        if error.code == 416:  # nothing after this byte
            return None
        return f"status {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return _reason(error)
    resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    have = have if resumed else 0  # else the server starts from the beginning
    left = int(response.headers.get("Content-Length", -1))
    with response, part.open("r+b") as stream:
        stream.seek(have)
        stream.truncate()
        while have <= file.size:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                return _reason(error)
            if not chunk:
                return None if left == 0 else "the connection was closed"
            have += stream.write(chunk)
            left -= len(chunk)
            on_progress(have, file.size)
    return None


def _open(address: str, headers: dict[str, str], method: str = "GET") -> http.client.HTTPResponse:
    """Open an address.

    Raises:
        UserError: It is not of the web, or there is no such file.
        HTTPError: The server answers otherwise than with a file.
        OSError: It cannot be reached.
    """
    if not address.startswith(("http://", "https://")):
        raise UserError(f"{address}: is not an address; it must start with https:// or http://")
    agent = {"User-Agent": f"owdfa/{owdfa.__version__}"}
    request = Request(address, headers=headers | agent, method=method)  # noqa: S310  checked above
    try:
        response: http.client.HTTPResponse = urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except HTTPError as error:
        error.close()
        if error.code in (401, 403, 404, 410):
            hint = f"check the address (--from, {MIRROR})"
            raise UserError(f"{address}: the server says {error.code}; {hint}") from None
        raise
    return response


def _text(address: str) -> str:
    """Read a small text."""
    try:
        with _open(address, {}) as response:
            return response.read(_LONGEST_TEXT).decode()
    except (OSError, http.client.HTTPException) as error:
        hint = f"go online, or name another address with --from or {MIRROR}"
        raise UserError(f"{address}: cannot be reached ({_reason(error)}); {hint}") from None
    except UnicodeDecodeError:
        raise UserError(f"{address}: is not text; is this the right address?") from None


def _size(address: str) -> int:
    """Size of a file in bytes, as the server announces it."""
    try:
        with _open(address, {}, "HEAD") as response:
            return int(response.headers["Content-Length"])
    except (OSError, http.client.HTTPException, TypeError, ValueError) as error:
        raise UserError(
            f"{address}: the server does not give its size ({_reason(error)})"
        ) from None


def _hub_files(base: str, listing: str, text: str) -> dict[str, Published]:
    """The large files of a repository on the hub, whose SHA-256 it lists."""
    try:
        return {
            entry["path"]: Published(
                f"{base}/{quote(entry['path'])}", entry["size"], entry["lfs"]["oid"]
            )
            for entry in json.loads(text)
            if entry.get("lfs")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{listing}: is not the hub's listing of a repository") from None


def _reason(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    inner = error.reason if isinstance(error, URLError) else error
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shifted(on_progress: OnProgress, before: int, total: int) -> OnProgress:
    """Report the bytes of one file as part of all."""
    return lambda done, _total, _note="": on_progress(before + done, total)
