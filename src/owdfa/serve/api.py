"""The HTTP API, version 1."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from owdfa.case.review import ConflictError
from owdfa.serve.service import Service

PREFIX = "/v1"
VERSION = version("owdfa")
DESCRIPTION = "Verdicts on images and videos, and the review of a case."

router = APIRouter(prefix=PREFIX)


def service_of(request: Request) -> Service:
    """The work behind the application that a request came to."""
    found: Service = request.app.state.service
    return found


Working = Annotated[Service, Depends(service_of)]


def status_of(error: Exception) -> int:
    """HTTP status of what a user can fix."""
    return 409 if isinstance(error, ConflictError) else 400
