"""All stages in a row: from a folder of images to a scored, reported attribution.

Everything lies in one folder, which is also the run folder::

    OUT/images.parquet  OUT/store/  OUT/split/  OUT/run.json, checkpoints, log
    OUT/predictions/{test,unlabelled}.parquet  OUT/scores.json  OUT/report.html
    OUT/warm_start/ or OUT/baseline/: a supervised run
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from owdfa import catalog
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.records.scores import Scores
from owdfa.records.split import Split
from owdfa.runs.settings import RunSettings
from owdfa.stages.predict import predict
from owdfa.stages.prepare import prepare
from owdfa.stages.report import report
from owdfa.stages.scan import parse_source, scan
from owdfa.stages.score import score
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import train

Report = Callable[[int, int, str], None]
Watch = Callable[[str], AbstractContextManager[Report]]  # by the name of the stage


class PathOptions(Settings):
    """What the whole path may be told.

    Attributes:
        split: Options of the split; a data set with a protocol of its own uses that by default.
        faces: Face detector; None for the one that the data set asks for.
        baseline: Also train the supervised baseline, to set beside the method.
        resume: Go on where an earlier call was stopped.
    """

    split: SplitOptions = SplitOptions()
    faces: str | None = None
    baseline: bool = False
    resume: bool = False


class Outcome(NamedTuple):
    """What the path leads to."""

    scores: dict[str, Scores]  # by method; empty where the test images have no truth
    page: Path


def run(
    source: str,
    output: Path,
    *,
    settings: RunSettings,
    options: PathOptions,
    watch: Watch,
) -> Outcome:
    """Scan, prepare, split, train, predict, score and report.

    Args:
        source: A data set, e.g. ``"folder:photos"``; ``"lab:"`` draws the synthetic one.
        output: The run folder.
        settings: Of the training run.
        options: Of everything before it.
        watch: Opens a progress display for a stage.

    Raises:
        UserError: As each stage; or the folder holds a run already and ``resume`` is not set.
    """
    if (output / "images.parquet").exists() and not options.resume:
        raise UserError(f"{output}: holds a run already; add --resume, or choose another -o")
    manifest = _collect(source, output, settings=settings, options=options, watch=watch)
    _divide(manifest, output / "split", source, options.split)
    scores = {settings.method.name: _attribute(output, output, settings, watch)}
    baseline = None
    if options.baseline:
        baseline, plain = _baseline(output, settings)
        scores["supervised"] = _attribute(output, baseline, plain, watch)
    with watch("report") as tell:
        page = report(
            output,
            output / "report.html",
            baseline=baseline,
            on_progress=lambda done, total: tell(done, total, ""),
        )
    return Outcome({name: each for name, each in scores.items() if each is not None}, page)


def _baseline(output: Path, settings: RunSettings) -> tuple[Path, RunSettings]:
    """Folder and settings of the supervised run: the warm start, where the method has one."""
    if settings.warm_start.epochs:
        return output / "warm_start", settings.first_stage()
    return output / "baseline", settings.with_method("supervised")


def _collect(
    source: str, output: Path, *, settings: RunSettings, options: PathOptions, watch: Watch
) -> Path:
    """Draw if need be, scan and prepare; return the manifest."""
    name, root = parse_source(source)
    adapter = catalog.load("datasets", name)
    # At the size that the network sees: resampling would wipe out the finest traces.
    size = settings.data.views.size
    if not root:
        root = str(output / "images")
        _draw(adapter, name, Path(root), size, watch)
    manifest = output / "images.parquet"
    if not manifest.exists():
        with watch("scan") as tell:
            scan(f"{name}:{root}", manifest, on_progress=_counting(tell))
    faces = options.faces or adapter.FACES
    with watch("prepare") as tell:
        prepare(manifest, output / "store", faces=faces, size=size, on_progress=_counting(tell))
    return manifest


def _draw(adapter: ModuleType, name: str, folder: Path, size: int, watch: Watch) -> None:
    if not hasattr(adapter, "draw"):
        raise UserError(f"{name}: say where the images are, e.g. {name}:photos")
    with watch("draw") as tell:
        adapter.draw(folder, adapter.LabSettings(size=size), on_progress=_counting(tell))


def _divide(manifest: Path, output: Path, source: str, options: SplitOptions) -> None:
    """Split by the data set's own protocol where nothing else is asked for."""
    adapter = catalog.load("datasets", parse_source(source).name)
    if options.protocol is None and options.known is None:
        options = options.model_copy(update={"protocol": adapter.PROTOCOL})
    split(manifest, output, options=options)


def _attribute(whole: Path, output: Path, settings: RunSettings, watch: Watch) -> Scores | None:
    """Train one method into ``output``, predict and score; None where nothing can be scored."""
    label = settings.method.name
    with watch(f"train {label}") as tell:
        train(
            whole / "split",
            output,
            settings=settings,
            resume=True,  # what may not be gone on with was refused before the first stage
            on_progress=lambda state: tell(state.done, state.total, state.summary()),
        )
    roles = [
        role for role in ("test", "unlabelled") if len(Split.read(whole / "split").with_role(role))
    ]
    for role in roles:
        with watch(f"predict {role}") as tell:
            file = output / "predictions" / f"{role}.parquet"
            predict(output, f"split:{role}", file, on_progress=_counting(tell))
    if "test" not in roles:
        return None
    file = output / "predictions" / "test.parquet"
    return score(file, whole / "split", output / "scores.json")


def _counting(tell: Report) -> Callable[[int, int], None]:
    return lambda done, total: tell(done, total, "")
