"""All stages in a row: from a folder of images to a scored, reported attribution.

Everything lies in one folder, which is also the run folder::

    OUT/images.parquet  OUT/store/  OUT/split/  OUT/run.json, checkpoints, log
    OUT/predictions/{test,unlabelled}.parquet  OUT/scores.json  OUT/report.html
    OUT/baseline/, OUT/refit/: the runs to set beside it
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import Field

from owdfa import catalog
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.inference.predictor import uses_gpu
from owdfa.methods.base import method_type
from owdfa.progress import OnProgress
from owdfa.records.manifest import Manifest
from owdfa.records.scores import Scores
from owdfa.records.split import Split
from owdfa.runs.lock import writing
from owdfa.runs.run import Run
from owdfa.runs.settings import DEFAULT_METHOD, RunSettings, load_settings, named_method
from owdfa.stages.predict import predict
from owdfa.stages.prepare import prepare
from owdfa.stages.report import report
from owdfa.stages.scan import ScanOptions, list_images, notes_on, parse_source, scan
from owdfa.stages.score import score
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import train

_WITHOUT_GPU = "plda"  # method for a user's own images where there is no GPU
_SMALL = "tiny"  # recipe of a trained method
_SAID = {"method", "backbone", "classes_from"}  # settings of a user who has a training in mind

Tell = Callable[[str], None]
ShowStage = Callable[[str], AbstractContextManager[OnProgress]]  # by the name of the stage


class PathOptions(Settings):
    """Options of everything but the training.

    Attributes:
        scan: Options of the scan: how images are grouped.
        split: Options of the split; a data set with a protocol of its own uses that by default.
        faces: Face detector; None for the one that the data set asks for.
        beside: Settings of other runs on the same images, by the name of their folder in the run
            folder. They come after the first, which may be what their weights are from.
        resume: Continue where an earlier call was stopped.
    """

    scan: ScanOptions = ScanOptions()
    split: SplitOptions = SplitOptions()
    faces: str | None = None
    beside: dict[str, RunSettings] = Field(default_factory=dict)
    resume: bool = False


class Outcome(NamedTuple):
    """What the path leads to."""

    scores: dict[str, Scores]  # by method; empty where the test images have no truth
    page: Path


class Choice(NamedTuple):
    """The settings of a run, and why its method was chosen where the user named none."""

    settings: RunSettings
    note: str | None = None


def choose_settings(
    source: str,
    recipe: str | None,
    config: Path | None,
    overrides: Sequence[str],
    explicit: Mapping[str, Any],
) -> Choice:
    """Take what the user names, and otherwise what this machine can do with these images.

    A network that is trained on a CPU is small and learns little from some hundred images of each
    type. Where nothing is said of the training, there is no GPU, and the images are the user's own
    (the data set has no protocol), features of a network that was trained before are taken.

    Args:
        source: A data set, e.g. ``"folder:photos"``.
        recipe: As for ``load_settings``; None for the method's for a small machine.
        config: As for ``load_settings``.
        overrides: As for ``load_settings``.
        explicit: As for ``load_settings``.

    Raises:
        UserError: A setting does not fit, or there is no such data set.
    """
    named = named_method(recipe, config, overrides, explicit)
    adapter = catalog.load("datasets", parse_source(source).name)
    nothing_said = recipe is None and config is None and not overrides and not _SAID & set(explicit)
    chosen = named or DEFAULT_METHOD
    if nothing_said and adapter.PROTOCOL is None and not uses_gpu("auto"):
        chosen = _WITHOUT_GPU
    if recipe is None and method_type(chosen).is_trained():
        recipe = _SMALL
    given = {**explicit, "method": {"name": chosen, **explicit.get("method", {})}}
    settings = load_settings(recipe, config, overrides, given)
    if chosen in (named, DEFAULT_METHOD):
        return Choice(settings)
    return Choice(
        settings,
        f"there is no GPU, so the method is {chosen}: one fit to features of a network that was"
        f" trained before; --method {DEFAULT_METHOD} trains a small network instead",
    )


def refit_settings(settings: RunSettings, method: str, run: Path) -> RunSettings:
    """Settings of a method that is fitted to the network of another run, and trains nothing.

    Args:
        settings: Of that run.
        method: Name of the method.
        run: Folder of that run, which need not be there yet.

    Raises:
        UserError: There is no such method, or it is trained.
    """
    if method_type(method).is_trained():
        raise UserError(
            f"--refit {method}: is a method that is trained, and nothing is trained here; train it"
            f" beside the other with --baseline {method}"
        )
    given = {
        "method": {"name": method},
        "backbone": {"name": settings.backbone.name, "weights": str(run)},
        "data": settings.data.model_dump(),
        "seed": settings.seed,
        "device": settings.device,
    }
    return load_settings("tiny", None, ["epochs=0", "stages=[]"], given)


def run(
    source: str,
    output: Path,
    *,
    settings: RunSettings,
    options: PathOptions,
    show: ShowStage,
    tell: Tell,
) -> Outcome:
    """Scan, prepare, split, train, predict, score and report.

    Args:
        source: A data set, e.g. ``"folder:photos"``; ``"lab:"`` draws the synthetic one.
        output: The run folder.
        settings: Of the training run.
        options: Of everything before it.
        show: Opens a progress display for a stage.
        tell: Shows a line that the user should know.

    Raises:
        UserError: As each stage; or the folder holds a run already and ``resume`` is not set.
    """
    with writing(output):
        return _run(source, output, settings, options, show, tell)


def _run(
    source: str,
    output: Path,
    settings: RunSettings,
    options: PathOptions,
    show: ShowStage,
    tell: Tell,
) -> Outcome:
    if (output / "images.parquet").exists() and not options.resume:
        raise UserError(f"{output}: holds a run already; add --resume, or choose another -o")
    manifest = collect(source, output, settings=settings, options=options, show=show)
    made = _divide(manifest, output / "split", source, options.split)
    for note in dict.fromkeys((*notes_on(Manifest.read(manifest)), *made.notes)):
        tell(note)
    scores = {settings.method.name: _attribute(output, output, settings, show)}
    for line in Run.open(output).findings:
        tell(line)
    for name, each in options.beside.items():
        scores[each.method.name] = _attribute(output, output / name, each, show)
        for line in Run.open(output / name).findings:
            tell(f"{name}: {line}")
    with show("report") as report_progress:
        page = report(
            output,
            output / "report.html",
            beside=[output / name for name in options.beside],
            on_progress=report_progress,
        )
    return Outcome({name: each for name, each in scores.items() if each is not None}, page)


def collect(
    source: str, output: Path, *, settings: RunSettings, options: PathOptions, show: ShowStage
) -> Path:
    """Draw if need be, scan and prepare; return the manifest."""
    name, root = parse_source(source)
    adapter = catalog.load("datasets", name)
    # At the size that the network sees: resampling would wipe out the finest traces.
    size = settings.data.views.size
    if not root:
        root = str(output / "images")
        _draw(adapter, name, Path(root), size, show)
    manifest = output / "images.parquet"
    address = f"{name}:{root}"
    if manifest.exists():
        _drop_outdated(manifest, address, options, output)
    if not manifest.exists():
        with show("scan") as report_progress:
            scan(address, manifest, options=options.scan, on_progress=report_progress)
            _drop_altered(manifest, output / "store")
    faces = options.faces or adapter.FACES
    with show("prepare") as report_progress:
        prepare(
            manifest,
            output / "store",
            faces=faces,
            size=size,
            fit=settings.data.fit,
            on_progress=report_progress,
        )
    return manifest


def _drop_outdated(manifest: Path, address: str, options: PathOptions, output: Path) -> None:
    """Remove manifest and split of a run that is resumed where its images are others by now.

    Compared are names, classes and sizes of files; their content is not read again.

    Raises:
        UserError: They are, and the run is trained on the earlier ones already.
    """
    earlier = Manifest.read(manifest, ("id", "class", "bytes"))
    was, is_ = (parse_source(each) for each in (earlier.dataset, address))
    inside = Path(is_.root).is_relative_to(output)  # drawn here: it moves with the run folder
    same_place = inside or Path(was.root).resolve() == Path(is_.root).resolve()
    if was.name != is_.name or not same_place:
        raise UserError(
            f"{output}: holds a run on {earlier.dataset}, not on {address}; choose another -o"
        )
    columns = (earlier.table[name].to_pylist() for name in ("id", "class", "bytes"))
    before = set(zip(*columns, strict=True))
    listed = list_images(address, options.scan)
    sizes = [_num_bytes(path) for path in listed["path"].to_pylist()]
    now = set(zip(listed["id"].to_pylist(), listed["class"].to_pylist(), sizes, strict=True))
    if now == before:
        return
    if Run.exists(output):
        raise UserError(
            f"{address}: {len(now - before)} images are new or altered and {len(before - now)} are"
            f" gone since {output} was started, which is trained on the earlier ones; choose"
            " another -o"
        )
    shutil.rmtree(output / "split", ignore_errors=True)
    manifest.unlink()


def _drop_altered(manifest: Path, store: Path) -> None:
    """Remove the crops of a run that was not trained yet, where a file of theirs was altered."""
    if not (store / "store.json").exists() or Run.exists(store.parent):
        return
    known, now = Store.open(store).table, Manifest.read(manifest, ("id", "sha256")).table
    earlier = dict(zip(known["id"].to_pylist(), known["sha256"].to_pylist(), strict=True))
    pairs = zip(now["id"].to_pylist(), now["sha256"].to_pylist(), strict=True)
    if any(earlier.get(id_, sha256) != sha256 for id_, sha256 in pairs):
        shutil.rmtree(store)


def _num_bytes(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _draw(adapter: ModuleType, name: str, folder: Path, size: int, show: ShowStage) -> None:
    if not hasattr(adapter, "draw"):
        raise UserError(f"{name}: say where the images are, e.g. {name}:photos")
    with show("draw") as report_progress:
        adapter.draw(folder, adapter.LabSettings(size=size), on_progress=report_progress)


def _divide(manifest: Path, output: Path, source: str, options: SplitOptions) -> Split:
    """Split by the data set's own protocol where nothing else is asked for.

    A split that nothing was trained on gives way: its options may be the remedy of a failure.
    """
    if not Run.exists(output.parent):
        shutil.rmtree(output, ignore_errors=True)
    adapter = catalog.load("datasets", parse_source(source).name)
    if options.protocol is None and options.known is None:
        options = options.model_copy(update={"protocol": adapter.PROTOCOL})
    return split(manifest, output, options=options)


def _attribute(whole: Path, output: Path, settings: RunSettings, show: ShowStage) -> Scores | None:
    """Train one method into ``output``, predict and score; None where nothing can be scored."""
    label = settings.method.name
    with show(f"train {label}") as report_progress:
        train(
            whole / "split",
            output,
            settings=settings,
            resume=True,  # a run that is not to be continued was refused before the first stage
            on_progress=report_progress,
        )
    roles = [
        role for role in ("test", "unlabelled") if len(Split.read(whole / "split").with_role(role))
    ]
    for role in roles:
        with show(f"predict {role}") as report_progress:
            file = output / "predictions" / f"{role}.parquet"
            predict(output, f"split:{role}", file, on_progress=report_progress)
    if "test" not in roles:
        return None
    file = output / "predictions" / "test.parquet"
    return score(file, whole / "split", output / "scores.json")
