"""The screen at ``/runs``."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from owdfa.serve.pages import show

router = APIRouter()


@router.get("/runs")
def page(request: Request) -> HTMLResponse:
    """The screen."""
    return show(request, "runs.html")
