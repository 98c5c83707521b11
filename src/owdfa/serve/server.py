"""Listen, say where, and serve until stopped."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import uvicorn

from owdfa.errors import UserError
from owdfa.serve.app import make_app
from owdfa.serve.connection import Connection
from owdfa.serve.guard import MAX_HEAD
from owdfa.serve.place import Place
from owdfa.serve.settings import ServeSettings


def run(place: Place, settings: ServeSettings, say: Callable[[str], None]) -> None:
    """Serve a place until interrupted.

    Args:
        place: The case and the run.
        settings: Where to listen, and limits.
        say: Told the address once it is served.

    Raises:
        UserError: The address cannot be had.
    """
    if settings.token is None and not settings.local:
        settings = settings.model_copy(update={"token": secrets.token_urlsafe(24)})
    listening = listen(settings)
    port = listening.getsockname()[1]
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    query = "" if settings.token is None else f"?token={settings.token}"
    say(f"{place.folder}: {settings.scheme}://{name}:{port}/{query}  (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):  # which is how it is ended
        uvicorn.Server(configuration(place, settings)).run(sockets=[listening])


def configuration(place: Place, settings: ServeSettings) -> uvicorn.Config:
    """How uvicorn serves a place."""
    return uvicorn.Config(
        make_app(place, settings), log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=15, timeout_graceful_shutdown=5, lifespan="on",
        h11_max_incomplete_event_size=MAX_HEAD, ws="none", loop="asyncio",
        http=partial(Connection, settings=settings),  # type: ignore[arg-type]
    )  # fmt: skip


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        UserError: Another program has the port, or the address is not one of this machine.
    """
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        # Told the protocol, asyncio sends at once (TCP_NODELAY); else answers wait 40 ms.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, settings.port))
        made.listen(settings.max_connections)  # who asks as soon as it is told the address waits
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no address of this machine"
        raise UserError(
            f"{settings.host}:{settings.port}: cannot be listened at ({reason}); choose another"
            " --port or --host"
        ) from None
    return made
