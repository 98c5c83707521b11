"""The application: pages, API and pictures of one case, behind the guard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from owdfa.errors import UserError
from owdfa.serve import api, media
from owdfa.serve.guard import HEALTH, Guard
from owdfa.serve.pages import all_pages, show_error
from owdfa.serve.place import Place
from owdfa.serve.service import Service
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import RefusedError

STATIC = Path(str(files("owdfa.serve") / "static"))

_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
# Newer FastAPI would tell OpenTelemetry of every request, its address with the token included.


def make_app(place: Place, settings: ServeSettings) -> FastAPI:
    """Make the application; its workers start and stop with it.

    Args:
        place: The case and the run.
        settings: Limits, and whom to let in.
    """
    service = Service(place, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="owdfa", version=api.VERSION, description=api.DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, openapi_url="/openapi.json", telemetry=_NO_TELEMETRY,
    )  # fmt: skip
    app.state.service = service
    app.add_middleware(Guard, settings=settings)
    app.add_exception_handler(UserError, _say)
    app.add_exception_handler(RequestValidationError, _say_invalid)
    app.mount("/static", CachedFiles(directory=STATIC), name="static")
    app.add_api_route(HEALTH, _health, methods=["GET", "HEAD"], include_in_schema=False)
    app.include_router(api.router)
    app.include_router(media.router, include_in_schema=False)
    for router in all_pages():
        app.include_router(router, include_in_schema=False)
    return app


class CachedFiles(StaticFiles):
    """Files of the package; a browser asks for each again, and gets it where it has changed."""

    def file_response(self, *args: object, **named: object) -> Response:
        """A file."""
        made = super().file_response(*args, **named)  # type: ignore[arg-type]
        made.headers["Cache-Control"] = "no-cache"
        return made


def _health() -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def _say_invalid(request: Request, error: Exception) -> Response:
    """What of an address, a form or a JSON value does not fit, in a line."""
    assert isinstance(error, RequestValidationError)
    problems = (
        f"{'.'.join(str(part) for part in each['loc'][1:])[:80] or 'body'}: {each['msg'].lower()}"
        for each in error.errors()[:3]
    )
    return _say(request, RefusedError(422, "; ".join(problems)))


def _say(request: Request, error: Exception) -> Response:
    """What the user can fix, in a line: as JSON of the API, else on the page."""
    if request.url.path.startswith(api.PREFIX):
        return api.say(request.app.state.service, error)
    return show_error(request, error, api.status_of(error))
