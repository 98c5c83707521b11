"""What the case holds for a browser to show or keep: ``/pictures/...`` and ``/downloads/...``.

A file that was sent is never served as it came: pictures are JPEGs that a worker drew anew.
"""

import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, PlainTextResponse, Response

from owdfa.serve.service import Picture, Service
from owdfa.serve.uploads import RefusedError

DOWNLOADS = "downloads"
"""Folder of the case whose files ``/downloads/NAME`` serves, to be kept."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FOREVER = "private, max-age=31536000, immutable"  # an address stands for the content of a file
_ASK = "private, no-cache"  # of a face: another run may find others in the same file
_SEALED = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

router = APIRouter()


def service_of(request: Request) -> Service:
    """The work behind the application that a request came to."""
    found: Service = request.app.state.service
    return found


Working = Annotated[Service, Depends(service_of)]
Digest = Annotated[str, InPath(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a file.")]


@router.get("/pictures/{sha256}/thumb")
async def thumb(request: Request, service: Working, sha256: Digest) -> Response:
    """A small picture of a file."""
    return await _picture(request, service, sha256, "thumb")


@router.get("/pictures/{sha256}/overview")
async def overview(request: Request, service: Working, sha256: Digest) -> Response:
    """A picture of a whole image."""
    return await _picture(request, service, sha256, "overview")


@router.get("/pictures/{sha256}/face/{number}")
async def face(request: Request, service: Working, sha256: Digest, number: int) -> Response:
    """What the network saw of a verdict."""
    return await _picture(request, service, sha256, "face", number)


@router.get("/downloads/{name}")
def download(service: Working, name: str) -> Response:
    """A file that a command made, to be kept; a browser runs nothing of it."""
    path = service.place.folder / DOWNLOADS / name
    if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
        raise RefusedError(404, f"{name[:128]}: no such file; make it again")
    return FileResponse(
        path, media_type="application/octet-stream", filename=name,
        headers={"Content-Security-Policy": _SEALED},
    )  # fmt: skip


async def _picture(
    request: Request, service: Service, sha256: str, kind: Picture, number: int = 0
) -> Response:
    found = await service.picture(sha256, kind, number)
    if found is None:
        return PlainTextResponse("no picture\n", 404)
    tag = f'"{found.stem}"'
    headers = {"Cache-Control": _ASK if kind == "face" else _FOREVER, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(found, media_type="image/jpeg", headers=headers)


def downloads(service: Service) -> Path:
    """Folder that ``/downloads/NAME`` serves; made where it is not there.

    Raises:
        UserError: The case cannot be begun.
    """
    service.place.begin()
    folder = service.place.folder / DOWNLOADS
    folder.mkdir(exist_ok=True)
    return folder
