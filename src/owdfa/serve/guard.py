"""Who may ask what: each request is looked at before anything else sees it.

A page of another site that a reviewer has open can make their browser send requests here. It cannot
choose ``Host`` and ``Origin``, so a request that is addressed to another name (DNS rebinding), or
that changes something and comes from another page (CSRF), is refused. Where other machines can ask,
every request brings a token as well: in ``Authorization: Bearer``, or in a cookie that
``/?token=...`` sets.

A body that is read as a whole, of a form's fields or JSON, is small; one with files is not, and is
written bit by bit: ``uploads.py`` has its limits.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from owdfa.serve.settings import LOCAL, ServeSettings

HEALTH = "/healthz"
"""What a container's health check asks; it needs no token and tells nothing."""
API = "/v1/"
"""How the addresses begin whose answers are JSON."""
COOKIE = "owdfa-token"
"""How the name of the cookie begins; ports share cookies, so the rest is of the token."""
MAX_WHOLE = 2**20
"""Bytes of a body that is read as a whole."""
MAX_HEAD = 16_384
"""Bytes of what comes before a body."""
_SAFE = ("GET", "HEAD")
_IN_BITS = ("multipart/form-data", "image/", "video/", "application/octet-stream")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Middleware that refuses what it should not let through, and seals every answer.

    Args:
        app: What is guarded.
        settings: Where it listens, and the token.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websocket is served
            return
        refused = self._refuse(scope)
        answer: Callable[[Scope, Receive, Send], Awaitable[None]] = refused or self.app
        await answer(scope, _bounded(scope, receive), _sealed(send))

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        lengths = [len(part) for pair in headers.raw for part in pair]
        if sum(lengths) + len(scope["path"]) + len(scope["query_string"]) > MAX_HEAD:
            return _refusal(scope, 431, f"address and headers may have {MAX_HEAD:,} bytes together")
        if scope["path"] == HEALTH:
            return None
        if not self._is_ours(headers.get("host", "")):
            return _refusal(scope, 421, "this address is not served here; --name allows another")
        if scope["method"] not in _SAFE and not self._is_own_page(headers):
            return _refusal(scope, 403, "the request comes from the page of another site")
        if _says_length(headers) > MAX_WHOLE and not _comes_in_bits(headers):
            return _refusal(scope, 413, f"a body of this kind may have {MAX_WHOLE:,} bytes")
        return None if self.settings.token is None else self._ask_token(scope, headers)

    def _is_ours(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine."""
        name, _ = _split_host(host)
        allowed = {self.settings.host, *self.settings.names}
        if self.settings.local:
            allowed |= set(LOCAL)
        elif self.settings.host in ("0.0.0.0", "::") and not self.settings.names:  # noqa: S104
            return _is_address(name) or name == "localhost"  # numbers cannot be bound anew
        return name in allowed

    def _is_own_page(self, headers: Headers) -> bool:
        """Whether what changes something comes from a page of ours, or from no page."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        return origin == f"{self.settings.scheme}://{headers.get('host')}"

    def _ask_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse a request without the token; put one that came in an address into a cookie."""
        given = headers.get("authorization", "").removeprefix("Bearer ")
        name = f"{COOKIE}-{hashlib.sha256(str(self.settings.token).encode()).hexdigest()[:8]}"
        if self._fits(given) or self._fits(_cookie(headers, name)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["method"] == "GET" and self._fits(query.get("token", [""])[0]):
            # One slash: with two, the rest would be the name of another site.
            answer = RedirectResponse("/" + scope["path"].lstrip("/\\"), 303)
            secure = self.settings.scheme == "https"
            answer.set_cookie(
                name, str(self.settings.token), httponly=True, samesite="strict", secure=secure
            )
            return answer
        refused = _refusal(
            scope, 401, "a token is needed: open the address that owdfa serve printed"
        )
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def _fits(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), str(self.settings.token).encode())


def _sealed(send: Send) -> Send:
    """Add the headers that every answer has."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)  # a download has a stricter policy
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sealed


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Cut off a body that is read as a whole and is too long, whatever it says of itself."""
    if _comes_in_bits(Headers(scope=scope)):
        return receive
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= MAX_WHOLE else {"type": "http.disconnect"}

    return bounded


def _says_length(headers: Headers) -> int:
    told = headers.get("content-length", "0")
    return int(told) if told.isascii() and told.isdigit() else 0


def _comes_in_bits(headers: Headers) -> bool:
    return headers.get("content-type", "").lower().startswith(_IN_BITS)


def _cookie(headers: Headers, name: str) -> str:
    """The value of a cookie; whatever others there are, and how they are written."""
    for each in ";".join(headers.getlist("cookie")).split(";"):
        found, _, value = each.strip().partition("=")
        if found == name:
            return value
    return ""


def _split_host(host: str) -> tuple[str, str]:
    """Name and port of a ``Host`` header."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name.lower(), port


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(scope: Scope, status: int, reason: str) -> Response:
    """An answer after which the connection is closed: the request's body is not waited for."""
    close = {"Connection": "close"}
    if scope["path"].startswith(API):
        return JSONResponse({"detail": reason}, status, close)
    return PlainTextResponse(f"{reason}\n", status, close)
