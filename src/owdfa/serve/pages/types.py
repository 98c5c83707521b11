"""The screen at ``/types``."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from owdfa.serve.pages import show

router = APIRouter()


@router.get("/types")
def page(request: Request) -> HTMLResponse:
    """The screen."""
    return show(request, "types.html")
