"""Who may ask what: each request is looked at before anything else sees it.

A page of another site that a reviewer has open can make their browser send requests here. It cannot
choose ``Host`` and ``Origin``, so a request that is addressed to another name (DNS rebinding), or
that changes something and comes from another page (CSRF), is refused. Where other machines can ask,
every request brings a token as well: in ``Authorization: Bearer``, or in a cookie that
``/?token=...`` sets.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from owdfa.serve.settings import LOCAL, ServeSettings

HEALTH = "/healthz"
"""What a container's health check asks; it needs no token and tells nothing."""
COOKIE = "owdfa-token"
_SAFE = ("GET", "HEAD")
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
        await answer(scope, receive, _sealed(send))

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["path"] == HEALTH:
            return None
        if not self._is_ours(headers.get("host", "")):
            return _plain(421, "this address is not served here; --name allows another")
        if scope["method"] not in _SAFE and not self._is_own_page(headers):
            return _plain(403, "the request comes from the page of another site")
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
        if self._fits(given) or self._fits(_cookie(headers)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["method"] == "GET" and self._fits(query.get("token", [""])[0]):
            answer = RedirectResponse(urlsplit(scope["path"]).path or "/", 303)
            secure = self.settings.scheme == "https"
            answer.set_cookie(
                COOKIE, str(self.settings.token), httponly=True, samesite="strict", secure=secure
            )
            return answer
        refused = _plain(401, "a token is needed: open the address that owdfa serve printed")
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
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sealed


def _cookie(headers: Headers) -> str:
    try:
        found: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[COOKIE].value if COOKIE in found else ""


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


def _plain(status: int, reason: str) -> PlainTextResponse:
    return PlainTextResponse(f"{reason}\n", status)
