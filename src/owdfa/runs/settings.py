"""The settings of a whole run: one section for each part, each part's own settings beside it.

What a paper fixes (optimiser, schedule, sampling, views, epochs) has no default here: it stands in
the method's recipe.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, Field, create_model

from owdfa import catalog
from owdfa.config import Settings, merge, parse_overrides, parse_settings, read_toml
from owdfa.errors import UserError
from owdfa.estimators.base import EstimateSettings, load_estimator
from owdfa.loading.batches import LoaderSettings
from owdfa.methods.base import method_type
from owdfa.records.provenance import Device, Labels, Precision, Selection
from owdfa.runs.metadata import RunMetadata

DEFAULT_METHOD = "cal"
SETTINGS = "settings.toml"
"""The file of a run folder that holds them."""


class MethodSettings(Settings):
    """The method, and its own settings beside its name."""

    name: str
    """The method's name, or the module of a method outside this package."""


class BackboneSettings(Settings):
    """The network under the method."""

    name: str
    """<library>/<model>; owdfa backbones lists the libraries."""
    weights: str = "none"
    """Weights at the start: none, hub, package, a file, or the folder of an earlier run."""


class OptimiserSettings(Settings):
    """How the weights are changed."""

    name: Literal["adam", "adamw", "sgd"]
    """The optimiser."""
    lr: float = Field(gt=0)
    """Learning rate at the start."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty for adam and sgd, decoupled decay for adamw."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of sgd."""


class ScheduleSettings(Settings):
    """How the learning rate changes over the epochs."""

    name: Literal["constant", "step", "cosine"] = "constant"
    """constant; step: multiplied by gamma every few epochs; cosine: down to gamma times lr."""
    every: int = Field(default=1, ge=1)
    """Epochs between two drops of a step schedule."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """What a drop multiplies the rate by; for cosine, the share of lr that is left at the end."""


class ContinualSettings(Settings):
    """What the training keeps of the run that it continues."""

    run: str
    """Folder of the run (--from): its network, its classes and their statistics."""
    replay_weight: float = Field(default=1.0, ge=0)
    """Weight of drawn features of known classes of which no labelled image is left."""


def _check_names(stages: tuple["StageSettings", ...]) -> tuple["StageSettings", ...]:
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError("two stages have the same name, which is that of a folder")
    return stages


def _check_folder_name(name: str) -> str:
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise ValueError("a stage's name is that of a folder: use a-z, 0-9, - and _")
    return name


_ESTIMATED = "auto:"


def _check_classes(classes: int | str) -> int | str:
    if isinstance(classes, int) or classes.isdecimal():
        classes = int(classes)
        if classes < 1:
            raise ValueError("a number of classes is 1 or more")
    elif classes.startswith(_ESTIMATED):
        load_estimator(classes.removeprefix(_ESTIMATED))
    elif classes != "auto":
        raise ValueError("a number, auto, or auto:<estimator> (owdfa estimators lists them)")
    return classes


class StageSettings(Settings):
    """A training that comes before: a run of its own, whose backbone the next one begins with."""

    name: Annotated[str, AfterValidator(_check_folder_name)]
    """Name of its folder below stages/."""
    method: dict[str, Any] = Field(default_factory=dict)
    """Its method, where that is another, with that method's settings."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """All else in which it differs from the run, as in a recipe; its selection is always last."""


class RunSettings(Settings):
    """Everything that decides a run, save the images; made by ``load_settings``."""

    method: MethodSettings
    """The method's name and settings; also an instance of its ``settings_type``."""
    backbone: BackboneSettings
    """The network under the method."""
    data: LoaderSettings
    """Batches and views."""
    optimiser: OptimiserSettings
    """How the weights are changed."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How the learning rate changes."""
    continual: ContinualSettings | None = None
    """The run that is continued (--from); not set for a new one."""
    epochs: int = Field(ge=0)
    """Number of epochs."""
    seed: int = Field(default=0, ge=0)
    """Decides first weights, order and augmentation."""
    classes: Annotated[int | str, AfterValidator(_check_classes)] = "auto"
    """Number of classes, known and novel; auto when it is not known, auto:gcd to estimate it."""
    classes_from: str | None = None
    """Run folder whose embedding auto:<estimator> takes; else the last stage's, or the weights'."""
    estimate: EstimateSettings = EstimateSettings()
    """How auto:<estimator> estimates the number of classes."""
    pseudo_label_confidence: Annotated[float, Field(gt=0, le=1)] | None = None
    """Confidence from which predictions of the run before become labels of unlabelled images."""
    labels: Labels = "visible"
    """visible; or all, for a bound: hidden labels of unlabelled images too, stamped oracle."""
    selection: Selection = "last"
    """Checkpoint that predicts: last, best by validation, or by test labels (oracle)."""
    precision: Precision = "32-true"
    """bf16-mixed takes convolutions and matrix products in bfloat16."""
    device: Device = "auto"
    """cpu, cuda, or auto for a GPU where there is one."""
    devices: int = Field(default=1, ge=1)
    """Number of processes that share each batch: a GPU, or some of the cores, each."""
    deterministic: bool = True
    """Bit-identical resume; without it a GPU is faster, and equal up to rounding."""
    compile: bool = False
    """Compile the features of full training batches in the first step, which takes longer."""
    onnx: bool = True
    """Write model.onnx at the end, by which a CPU predicts faster and without torch."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two lines of the log."""
    stages: Annotated[tuple[StageSettings, ...], AfterValidator(_check_names)] = ()
    """Trainings that come before, in order; each begins with the backbone of the one before."""

    def stage(self, stage: StageSettings) -> "RunSettings":
        """The settings of a training that comes before.

        Raises:
            UserError: A setting of the stage is unknown or does not fit.
        """
        table = self.model_dump(exclude={"stages"})
        if stage.method:
            table["method"] = stage.method
        own = {"selection": "last", "onnx": False, "pseudo_label_confidence": None}  # not the run's
        settings = _parse(merge(table, own, stage.settings), f"stage {stage.name}")
        if settings.selection != "last":  # nothing but the run itself may look at test labels
            raise UserError(f"stage {stage.name}: its selection is always last; leave it out")
        if settings.labels != self.labels:
            raise UserError(f"stage {stage.name}: its labels are the run's; leave them out")
        return settings

    @property
    def estimator(self) -> str | None:
        """The estimator of the number of classes; None where that is given, or the method's."""
        name = str(self.classes)
        return name.removeprefix(_ESTIMATED) if name.startswith(_ESTIMATED) else None

    def with_classes(self, classes: int | str) -> "RunSettings":
        """The same run with the number of classes, or ``auto``, in place of an estimator."""
        return self.model_copy(update={"classes": classes, "classes_from": None})

    def with_weights(self, weights: Path) -> "RunSettings":
        """The same run with a backbone from elsewhere: a file, or the folder of a run."""
        backbone = self.backbone.model_copy(update={"weights": str(weights)})
        return self.model_copy(update={"backbone": backbone})

    def to_toml(self) -> str:
        """As a file that ``load_settings`` reads."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def differences(self, other: "RunSettings", ignored: Sequence[str] = ()) -> list[str]:
        """Name what differs from ``other``, e.g. ``"epochs 50 there, 60 here"``.

        Args:
            other: The settings to compare with.
            ignored: Dotted names of settings that may differ.
        """
        there, here = _flat(other.model_dump()), _flat(self.model_dump())
        return [
            f"{name} {there.get(name)} there, {here.get(name)} here"
            for name in sorted(there.keys() | here.keys())
            if name not in ignored and there.get(name) != here.get(name)
        ]


def load_settings(
    recipe: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    explicit: Mapping[str, Any] | None = None,
    earlier: Path | None = None,
) -> RunSettings:
    """Lay settings over each other, the later ones winning, and check them.

    The method is the last one named, and its recipe comes first: a recipe belongs to a method.

    Args:
        recipe: ``"tiny"`` for the method's recipe ``<method>-tiny``, or a whole name; None for the
            recipe of its paper, ``"none"`` for none at all.
        config: A TOML file.
        overrides: Pairs such as ``"method.ccr_weight=0.3"``.
        explicit: Nested settings, e.g. ``{"method": {"name": "cal"}, "seed": 1}``.
        earlier: A run to continue, whose settings take the place of a recipe that is not named.

    Raises:
        UserError: A file cannot be read, a name is unknown, a value does not fit; the message
            says which of the sources it came from.
    """
    layers = _layers(config, overrides, explicit)
    start: _Layers = [] if earlier is None else [(str(earlier), _to_continue(earlier))]
    named = _named_method(layers) or catalog.method_of_recipe(recipe)
    method = named or _named_method(start) or DEFAULT_METHOD
    schema = _schema(method)  # first of all: a method that does not exist has no recipe
    if recipe != "none" and not (start and recipe is None):
        path = catalog.recipe_path(method, recipe)
        own = read_toml(path)
        layers.insert(0, (f"recipe {path.stem}", _without_start(own) if start else own))
    table: dict[str, Any] = {}
    for where, layer in [*start, *layers]:
        if _method_name(layer) not in (None, method):  # settings of a method that was replaced
            layer = {name: value for name, value in layer.items() if name != "method"}
        table = merge(table, layer)
        if layer:  # each for itself, so that a mistake is told of its source
            parse_settings(schema, table, where, partial=True)
    settings = _parse(merge(table, {"method": {"name": method}}), layers[-1][0])
    for stage in settings.stages:  # now, and not when the stages before have been trained
        settings.stage(stage)
    return settings


def _to_continue(run: Path) -> dict[str, Any]:
    """The settings with which a run is continued: its own, without what came before it."""
    RunMetadata.read(run)  # says what is wrong with a folder that is no run
    start = {"backbone": {"weights": str(run)}, "continual": {"run": str(run)}}
    return merge(_without_start(read_toml(run / SETTINGS)), start)


def _without_start(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those of what a training begins with."""
    start = ("stages", "classes_from", "pseudo_label_confidence")
    left = {name: value for name, value in table.items() if name not in start}
    backbone = {n: value for n, value in left.get("backbone", {}).items() if n != "weights"}
    return {**left, "backbone": backbone}


def named_method(
    recipe: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    explicit: Mapping[str, Any] | None = None,
) -> str | None:
    """The method that the arguments of ``load_settings`` name; None where they name none."""
    layers = _layers(config, overrides, explicit)
    return _named_method(layers) or catalog.method_of_recipe(recipe)


_Layers = list[tuple[str, Mapping[str, Any]]]


def _layers(
    config: Path | None, overrides: Sequence[str], explicit: Mapping[str, Any] | None
) -> _Layers:
    """What is laid over the recipe, and where it comes from."""
    file = [] if config is None else [(str(config), read_toml(config))]
    return [*file, ("--set", parse_overrides(overrides)), ("settings", explicit or {})]


def _named_method(layers: _Layers) -> str | None:
    named = [name for _, table in layers if (name := _method_name(table)) is not None]
    return named[-1] if named else None


@cache
def _schema(method: str) -> type[RunSettings]:
    own = method_type(method).settings_type
    name = Field(default=method, description="The method's name.")
    section = create_model("MethodSettings", __base__=(own, MethodSettings), name=(str, name))
    settings = Field(default=section(), description="The method's name and its own settings.")
    return create_model("RunSettings", __base__=RunSettings, method=(section, settings))


def _parse(table: Mapping[str, Any], where: str) -> RunSettings:
    return parse_settings(_schema(table["method"]["name"]), table, where)


def _method_name(table: Mapping[str, Any]) -> str | None:
    section = table.get("method")
    name = section.get("name") if isinstance(section, Mapping) else None
    return name if isinstance(name, str) else None


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = isinstance(value, Mapping)
        flat.update(_flat(value, f"{prefix}{name}.") if inner else {prefix + name: value})
    return flat
