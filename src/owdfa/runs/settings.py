"""The settings of a whole run: one section for each part, each part's own settings beside it."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, create_model

from owdfa import catalog
from owdfa.config import Settings, fill, merge, parse_overrides, read_toml
from owdfa.loader import LoaderSettings
from owdfa.methods.base import method_type
from owdfa.runs.computing import Device, Precision

Selection = Literal["last", "validation", "oracle"]


class MethodSettings(Settings):
    """The method's name; ``load_settings`` puts the method's own settings beside it."""

    name: str


class BackboneSettings(Settings):
    """The network under the method."""

    name: str = "timm/resnet50.a1_in1k"
    weights: str = "none"  # or "hub", a file of weights, or the folder of an earlier run


class OptimiserSettings(Settings):
    """How the weights are changed; the defaults are those of CAL's paper."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)  # L2 for adam and sgd, decoupled for adamw
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd
    lr_step: int = Field(default=10, ge=1)  # epochs between two drops of the learning rate
    lr_gamma: float = Field(default=0.05, gt=0, le=1)  # what a drop multiplies it by


class WarmStartSettings(Settings):
    """A supervised run on the labelled images, whose backbone the method begins with.

    For a network of which no trained weights exist: the method's recipe expects features that say
    something already.
    """

    epochs: int = Field(default=0, ge=0)  # 0: none
    lr: float = Field(default=3e-3, gt=0)  # a fifth of it in the last quarter


class RunSettings(Settings):
    """Everything that decides a run, save the images; made by ``load_settings``.

    Attributes:
        method: The method's name and settings; also an instance of its ``settings_type``.
        classes: Number of classes, known and novel; "auto" when it is not known.
        selection: Which checkpoint predicts: the ``last``, the best by ``validation`` on known
            classes, or the best by test labels (``oracle``: for comparison with published numbers).
        devices: Number of processes; each takes a GPU, or its part of the cores. Their batch is
            one: results differ by rounding alone.
        deterministic: Take algorithms that give the same bits every time. Without them a GPU is
            faster, and a run that was stopped and resumed agrees up to rounding alone.
        compile: Compile the backbone in the first step, which takes the longer for it.
        log_every: Steps between two lines of the log.
    """

    method: MethodSettings
    backbone: BackboneSettings = BackboneSettings()
    data: LoaderSettings = LoaderSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    warm_start: WarmStartSettings = WarmStartSettings()
    epochs: int = Field(default=50, ge=1)
    seed: int = Field(default=0, ge=0)
    classes: int | Literal["auto"] = "auto"
    selection: Selection = "last"
    precision: Precision = "32-true"
    device: Device = "auto"
    devices: int = Field(default=1, ge=1)
    deterministic: bool = True
    compile: bool = False
    log_every: int = Field(default=10, ge=1)

    def with_method(self, name: str) -> "RunSettings":
        """The same run of another method, with that method's defaults."""
        table = self.model_dump(exclude_none=True)
        table["method"] = {"name": name}
        return fill(_schema(name), table, f"method {name}")

    def first_stage(self) -> "RunSettings":
        """The settings of the warm start, a run of its own."""
        warm = self.warm_start
        drop = max(1, math.ceil(0.75 * warm.epochs))
        changes: dict[str, Any] = {
            "data": {"images_per_epoch": None},
            "optimiser": {"lr": warm.lr, "lr_step": drop, "lr_gamma": 0.2},
            "warm_start": {"epochs": 0},
            "epochs": warm.epochs,
            "selection": "last",
        }
        plain = self.with_method("supervised")
        return fill(type(plain), merge(plain.model_dump(), changes), "warm start")

    def to_toml(self) -> str:
        """As a file that ``load_settings`` reads."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def differences(self, other: "RunSettings") -> list[str]:
        """Name what differs from ``other``, e.g. ``"epochs 50 there, 60 here"``."""
        there, here = _flat(other.model_dump()), _flat(self.model_dump())
        return [
            f"{name} {there.get(name)} there, {here.get(name)} here"
            for name in sorted(there.keys() | here.keys())
            if there.get(name) != here.get(name)
        ]


def load_settings(
    recipe: str | None = "paper",
    config: Path | None = None,
    overrides: Sequence[str] = (),
    explicit: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Lay settings over each other, the later ones winning, and check them.

    A section ``method`` that was written for another method than the one chosen in the end is
    left out: a recipe of CAL serves the supervised baseline too.

    Args:
        recipe: Name of a recipe in ``owdfa/recipes/``; None for none.
        config: A TOML file.
        overrides: Pairs such as ``"method.ccr_weight=0.3"``.
        explicit: Nested settings, e.g. ``{"method": {"name": "cal"}, "seed": 1}``.

    Raises:
        UserError: A file cannot be read, a name is unknown, a value does not fit; the message
            says which of the four sources it came from.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if recipe is not None:
        layers.append((f"recipe {recipe}", parse_recipe(recipe)))
    if config is not None:
        layers.append((str(config), read_toml(config)))
    layers.append(("--set", parse_overrides(overrides)))
    layers.append(("settings", explicit or {}))

    named = [name for _, table in layers if (name := _method_name(table)) is not None]
    method = named[-1] if named else "cal"
    schema = _schema(method)
    table: dict[str, Any] = {}
    for where, layer in layers:
        if _method_name(layer) not in (None, method):
            layer = {name: value for name, value in layer.items() if name != "method"}
        table = merge(table, layer)
        settings = fill(schema, table, where)
    return settings


def parse_recipe(name: str) -> dict[str, Any]:
    """Read a recipe.

    Raises:
        UserError: There is none of that name.
    """
    return tomllib.loads(catalog.text("recipes", name))


@cache
def _schema(method: str) -> type[RunSettings]:
    """``RunSettings`` whose section ``method`` holds the settings of ``method``."""
    own = method_type(method).settings_type
    section = create_model("MethodSettings", __base__=(own, MethodSettings), name=(str, method))
    return create_model("RunSettings", __base__=RunSettings, method=(section, section()))


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
