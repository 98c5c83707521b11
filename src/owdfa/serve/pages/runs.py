"""The screen at ``/runs``: the run that gives verdicts and those beside it, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from owdfa.errors import UserError
from owdfa.records.scores import Scores
from owdfa.runs.metadata import RunMetadata, is_run
from owdfa.serve.pages import show
from owdfa.serve.place import Place
from owdfa.serve.uploads import RefusedError
from owdfa.stages.report.log import Panel, RunLog, panels, read_log
from owdfa.stages.report.rows import ScoreRow, score_row

MAX_RUNS = 40
"""Runs that are compared; of more, those that were changed last."""
WIDTH, HEIGHT = 400, 140
"""Of a plot, in units of its drawing."""
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data: blob:; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""The page's own policy lets its own scripts run and no other; the sandbox keeps them from us."""

router = APIRouter()


class RunLine(NamedTuple):
    """A run among others."""

    name: str
    folder: Path
    metadata: RunMetadata | None  # None where it cannot be read
    row: ScoreRow | None  # None where it was not scored
    problem: str | None  # why something is missing


class Curve(NamedTuple):
    """A number by epoch."""

    name: str
    points: str  # of an SVG polyline
    values: list[float | None]


class Plot(NamedTuple):
    """Numbers by epoch that share a plot."""

    panel: Panel
    low: float
    high: float
    curves: list[Curve]
    level: float | None  # of the dotted line


@router.get("/runs")
@router.get("/runs/{name}")
def page(request: Request, name: str | None = None) -> HTMLResponse:
    """The screen: one run in full, and the scores of all."""
    place: Place = request.app.state.service.place
    folders, num_left_out = _folders(place.run)
    if name is not None and name not in folders:
        raise RefusedError(404, f"{name[:80]}: is no run beside the one that is served; see /runs")
    lines = [_line(name, folder) for name, folder in folders.items()]
    if not lines:
        return show(request, "runs.html", run=None)
    this = next((each for each in lines if each.name == name), lines[0])
    log = read_log(this.folder / "log.jsonl")
    return show(
        request,
        "runs.html",
        run=this,
        lines=lines,
        num_left_out=num_left_out,
        epochs=[each["epoch"] + 1 for each in log.epochs],
        plots=_plots(log, this),
        settings=_text(this.folder / "settings.toml"),
        has_report=(this.folder / "report.html").is_file(),
        size=(WIDTH, HEIGHT),
    )


@router.get("/runs/{name}/report.html")
def report(request: Request, name: str) -> Response:
    """The run's own report, which cannot reach this page."""
    place: Place = request.app.state.service.place
    folders, _ = _folders(place.run)
    path = folders[name] / "report.html" if name in folders else None
    if path is None or not path.is_file():
        raise RefusedError(404, f"{name[:80]}: has no report.html; owdfa report makes it")
    policy = {"Content-Security-Policy": _REPORT_POLICY}
    return FileResponse(path, media_type="text/html", headers=policy)


def _folders(run: Path | None) -> tuple[dict[str, Path], int]:
    """Runs by the name of their folder, the one that is served first; how many are left out."""
    if run is None or not is_run(run):
        return {}, 0
    run = run.resolve()
    others = [each for each in run.parent.iterdir() if is_run(each) and each != run]
    others.sort(key=lambda each: (each / "run.json").stat().st_mtime, reverse=True)
    shown = others[: MAX_RUNS - 1]
    return {each.name: each for each in (run, *shown)}, len(others) - len(shown)


def _line(name: str, folder: Path) -> RunLine:
    try:
        metadata = RunMetadata.read(folder)
    except UserError as error:
        return RunLine(name, folder, None, None, str(error))
    path = folder / "scores.json"
    if not path.exists():
        return RunLine(name, folder, metadata, None, None)
    try:
        scores = Scores.read(path)
    except UserError as error:
        return RunLine(name, folder, metadata, None, str(error))
    if scores.provenance.weights_digest != metadata.provenance.weights_digest:
        problem = f"{path}: is of other weights; delete it, score again"
        return RunLine(name, folder, metadata, None, problem)
    return RunLine(name, folder, metadata, score_row(scores), None)


def _plots(log: RunLog, run: RunLine) -> list[Plot]:
    true = run.row.scores.num_classes["true"] if run.row else None
    return [_plot(log.epochs, panel, true) for panel in panels(log, true)]


def _plot(epochs: Sequence[dict[str, Any]], panel: Panel, true: int | None) -> Plot:
    """Place the numbers of a panel in a plot that begins at 0, or below where a number does."""
    values = {name: [epoch.get(name) for epoch in epochs] for name in panel.names}
    all_of_them = [each for some in values.values() for each in some if each is not None]
    level = true if panel.id == "active" else None
    low = min(0.0, *all_of_them)
    high = max(all_of_them + ([level] if level is not None else [])) or 1.0
    scale = max(high - low, 1e-12)
    step = WIDTH / max(len(epochs) - 1, 1)
    curves = [
        Curve(
            name.replace("_", " "),
            " ".join(
                f"{step * i:.1f},{HEIGHT * (1 - (value - low) / scale):.1f}"
                for i, value in enumerate(some)
                if value is not None
            ),
            some,
        )
        for name, some in values.items()
    ]
    dotted = None if level is None else HEIGHT * (1 - (level - low) / scale)
    return Plot(panel, low, high, curves, dotted)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
