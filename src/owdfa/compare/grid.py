"""The grid of a comparison: methods, protocols, seeds; one cell is one training."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from owdfa.config import Settings, merge, parse_overrides
from owdfa.errors import UserError
from owdfa.methods.base import method_type
from owdfa.protocols import read_protocol
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.stages.scan import ScanOptions

GIVEN = "true"  # of the number of classes: the split's, known and novel
NOT_USED = "-"  # of the number of classes, by a method that tells no novel ones apart


class GridOptions(Settings):
    """What is compared, and on what."""

    sources: tuple[str, ...] = ()
    """Data sets such as ``lab:`` and ``folder:photos``; lab: where every protocol is one of lab."""
    methods: tuple[str, ...]
    """Rows: ``METHOD[+BASE][@RECIPE][:SETTING=VALUE]...``, see ``parse_row``."""
    protocols: tuple[str, ...]
    """As ``owdfa split`` takes them."""
    classes: tuple[str, ...] = (GIVEN,)
    """Numbers of classes that the methods are told: true, auto, auto:<estimator> or a count."""
    seeds: tuple[int, ...] = (0,)
    """Of training."""
    split_seeds: tuple[int, ...] = (2025,)
    """Of the split."""
    rule: Literal["group", "paper"] = "group"
    """Of the split: never cut a group, or assign each image alone."""
    validation: float = 0.0
    """Share of labelled images held back."""
    recipe: str | None = "tiny"
    """Recipe of each method; None for its paper's."""
    config: Path | None = None
    """TOML file of settings for every row; they override the recipe."""
    overrides: tuple[str, ...] = ()
    """Settings for every row, ``name=value``."""
    against: str | None = None
    """Row that the others are compared with; the first by default."""
    scan: ScanOptions = ScanOptions()
    """How images are listed."""
    faces: str | None = None
    """Face detector; the data set's by default."""


class Row(NamedTuple):
    """A way to train."""

    name: str  # as it was written
    method: dict[str, Any]  # the method's name, and its base's
    recipe: str | None
    overrides: tuple[str, ...]

    def settings(
        self, options: GridOptions, classes: int | str = "auto", seed: int = 0
    ) -> RunSettings:
        """The settings of one of its trainings.

        Args:
            options: What all rows share.
            classes: Number of classes that it is told.
            seed: Of the training.

        Raises:
            UserError: The method, its recipe or a setting does not exist.
        """
        explicit = {"method": self.method, "classes": classes, "seed": seed}
        own = parse_overrides(self.overrides)
        return load_settings(self.recipe, options.config, options.overrides, merge(explicit, own))


class Cell(Settings):
    """One training, as written to its folder for whoever runs it."""

    row: str
    """Of the table."""
    classes: str
    """The number of classes that it is told, as it was asked for."""
    protocol: str
    """Which classes are known."""
    split_seed: int
    """Of the split."""
    rule: Literal["group", "paper"] = "group"
    """Of the split."""
    seed: int
    """Of the training."""
    split: str
    """Folder of the split, from the folder of the comparison."""
    store: str
    """Folder of the crops, likewise."""

    @property
    def folder(self) -> str:
        """Its run folder, from the folder of the comparison."""
        seeds = f"{self.split_seed}-{self.seed}" + ("" if self.rule == "group" else f"-{self.rule}")
        parts = (self.row, self.classes, self.protocol, seeds)
        return "/".join(("cells", *map(slug, parts)))

    @property
    def label(self) -> str:
        """How it is called on the terminal."""
        return f"{self.row} {self.protocol} seed {self.seed}"


def parse_row(text: str, recipe: str | None) -> Row:
    """Read a row: ``cal``, ``cdal+cpl``, ``supervised@all-tiny``, ``cal:method.ccr_weight=0``.

    Args:
        text: Method, the base that a plug-in wraps, a recipe of its own, settings of its own.
        recipe: The recipe where the row names none.

    Raises:
        UserError: The method does not exist, or takes no base.
    """
    spec, *overrides = text.split(":")
    spec, _, own = spec.partition("@")
    name, _, base = spec.partition("+")
    settings = method_type(name).settings_type
    if base and "base" not in settings.model_fields:
        raise UserError(f"{text}: method {name!r} wraps no other; leave +{base} out")
    method = {"name": name, "base": {"name": base}} if base else {"name": name}
    return Row(text, method, own or recipe, tuple(overrides))


def rows_of(options: GridOptions) -> list[Row]:
    """All rows, each checked against its method before anything is trained.

    Raises:
        UserError: One cannot be trained, two of them see images of different sizes, or there is no
            such protocol.
    """
    rows = [parse_row(text, options.recipe) for text in options.methods]
    if len({row.name for row in rows}) < len(rows):
        raise UserError("--methods: names a row twice")
    if options.against not in (None, *(row.name for row in rows)):
        there = ", ".join(row.name for row in rows)
        raise UserError(f"--against {options.against}: is no row; there are: {there}")
    sizes = {row.settings(options).data.views.size: row.name for row in rows}
    if len(sizes) > 1:
        named = ", ".join(f"{size} px for {name}" for size, name in sizes.items())
        raise UserError(f"--methods: the rows see images of different sizes ({named})")
    told = [(row, each) for row in rows for each in told_classes(row, options)]
    if not told:
        raise UserError("--classes auto: every row must be told the number; add true or auto:gcd")
    for row, each in told:  # now, and not when the images have been drawn and cropped
        if each not in (GIVEN, NOT_USED):
            row.settings(options, each)
    for protocol in options.protocols:
        read_protocol(protocol)
    return rows


def told_classes(row: Row, options: GridOptions) -> list[str]:
    """What a row is told of the number of classes: once nothing where it does not care."""
    settings = row.settings(options)
    method = method_type(settings.method.name)
    if not method.discovers:
        return [NOT_USED]
    return [each for each in options.classes if not (each == "auto" and method.needs_num_classes)]


def trainings(rows: Sequence[Row], options: GridOptions) -> list[tuple[Row, str, str, int, int]]:
    """Row, classes told, protocol, split seed and seed of each cell, in order."""
    ways = [(row, told) for row in rows for told in told_classes(row, options)]
    grid = product(options.split_seeds, options.seeds, options.protocols, ways)
    return [
        (row, told, protocol, split_seed, seed) for split_seed, seed, protocol, (row, told) in grid
    ]


def source_of(protocol: str, sources: Sequence[str]) -> str:
    """The source that a protocol is for: the data set of its name, or the only one.

    Raises:
        UserError: There is none, or it is not clear which.
    """
    name = protocol.partition("/")[0]
    for source in sources:
        if source.partition(":")[0] == name:
            return source
    if len(sources) == 1:
        return sources[0]
    if not sources and name == "lab":
        return "lab:"
    raise UserError(f"protocol {protocol}: say where its images are, e.g. {name}:DIR")


def short_names(protocols: Sequence[str]) -> dict[str, str]:
    """What each protocol is called in the table: ``my/p1`` for ``somewhere/my.toml/p1``.

    Raises:
        UserError: Two have the same name.
    """
    names = {each: re.sub(r"^.*?([^/]+)\.toml(?=/|$)", r"\1", each) for each in protocols}
    if len(set(names.values())) < len(names):
        raise UserError("--protocols: two have the same name; rename one of the files")
    return names


def slug(text: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^A-Za-z0-9_=+@.-]+", "-", text).strip("-.") or "-"


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Read ``0..4`` or ``0,1,2``, both ends included.

    Raises:
        UserError: It is neither.
    """
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if not ends or (ends[2] and int(ends[2]) < int(ends[1])):
            raise UserError(f"{option} {text}: write 0..4 or 0,1,2")
        found.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return tuple(dict.fromkeys(found))
