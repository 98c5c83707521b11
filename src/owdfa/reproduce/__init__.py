"""Reproduce: a published row, pinned to its settings, trained on the user's images.

Beside the row as published, whose checkpoint test labels chose as a rule, stand the same trainings
with the last checkpoint. The trainings are cells of ``owdfa.compare``, in its layout, so that what
was stopped goes on. OUT/table.md and OUT/reproduce.json hold the outcome.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from owdfa import catalog
from owdfa.compare import ShowStage, Tell, train_grid
from owdfa.compare.grid import GridOptions, parse_row
from owdfa.compare.workers import Cluster, Local
from owdfa.config import Settings, parse_overrides, read_toml
from owdfa.errors import UserError
from owdfa.files import check_replaceable
from owdfa.records.provenance import Selection
from owdfa.reproduce.checkpoint import score_checkpoint
from owdfa.reproduce.rows import PublishedRow, find_row
from owdfa.reproduce.tables import TABLE, Reproduction, is_table, write
from owdfa.reproduce.verdict import Way
from owdfa.runs.lock import writing
from owdfa.runs.settings import RunSettings
from owdfa.stages.scan import parse_source
from owdfa.training.checkpoints import MAY_CHANGE

UP_TO_ROUNDING = ("precision", "deterministic", "compile", "device")
_ENOUGH = 0.9  # share of the images that a benchmark has
_PINNED = ("method.name", "method.base.name", "selection", "classes", "seed", "labels")


class ReproduceOptions(Settings):
    """What is reproduced, and how."""

    row: str
    """Name of a published row."""
    source: str
    """Its images, e.g. ``owdfa40:DIR``."""
    seeds: tuple[int, ...] | None = None
    """Of training; None for those that were published, or as many."""
    split_seeds: tuple[int, ...] | None = None
    """Of the split; None for the benchmark's."""
    recipe: str | None = None
    """Recipe in place of the published settings."""
    config: Path | None = None
    """TOML file of settings in place of the published ones."""
    overrides: tuple[str, ...] = ()
    """Settings in place of the published ones, ``name=value``."""
    group: bool = False
    """Whether to train the row on a split that cuts no group, too."""
    checkpoint: Path | None = None
    """An official checkpoint to score, in place of any training."""


def reproduce(
    output: Path,
    options: ReproduceOptions,
    workers: Local | Cluster,
    *,
    show: ShowStage,
    tell: Tell,
    command: str = "",
) -> Reproduction:
    """Train a published row as it was published, and with the last checkpoint; compare the numbers.

    Args:
        output: Folder of the reproduction; may hold an unfinished one.
        options: What is reproduced, and how.
        workers: Who runs the trainings.
        show: Opens a progress display for a stage.
        tell: Shows a line that the user should know.
        command: What the user typed, for the record.

    Raises:
        UserError: There is no such row or it cannot be run, the images are of another data set, or
            a setting does not fit; before anything is trained.
    """
    row = find_row(options.row)
    _check_source(row, options.source)
    _check_not_pinned(row, options)
    if options.group and options.checkpoint is not None:
        raise UserError(
            "--checkpoint: is scored on the paper's kind of split; leave --rule group out"
        )
    selections: list[Selection] = list(dict.fromkeys((row.entry.selection, "last")))
    grid = _grid(row, options, selections)
    differs, notes = _differences(row, options, grid)
    check_replaceable(output / TABLE, is_table)
    failed: dict[str, str] = {}
    with writing(output):
        if options.checkpoint is not None:
            scored = score_checkpoint(row, options.checkpoint, output, grid, show)
            ways = [Way("official checkpoint", "oracle", "paper", scored)]
        else:
            ways, failed = _train(output, grid, selections, workers, show, tell)
        if options.group:
            update = {"rule": "group", "methods": grid.methods[-1:]}
            by_group = grid.model_copy(update=update)
            more, bad = _train(output, by_group, selections[-1:], workers, show, tell)
            ways, failed = [*ways, *more], failed | bad
        made = Reproduction(row, ways, differs, notes, failed, command)
        write(made, output)
        return made


def _check_source(row: PublishedRow, source: str) -> None:
    adapter = catalog.load("datasets", row.dataset)
    name, root = parse_source(source) if ":" in source else ("", source)
    if name != row.dataset or not root:
        raise UserError(
            f"{source}: the images of {row.name} are {adapter.DESCRIPTION}; name them as"
            f" {row.dataset}:PATH"
        )
    if not Path(root).expanduser().exists():
        raise UserError(f"{root}: does not exist; looked for {adapter.DESCRIPTION}")


def _check_not_pinned(row: PublishedRow, options: ReproduceOptions) -> None:
    """Refuse settings that the row itself decides; they would be ignored otherwise."""
    pinned = {*_PINNED, *_flat(parse_overrides(row.entry.settings))}
    sources = {"--set": parse_overrides(options.overrides)}
    if options.config is not None:
        sources[str(options.config)] = read_toml(options.config)
    for where, table in sources.items():
        for name in _flat(table):
            if name in pinned:
                raise UserError(
                    f"{where}: {name} is what the row {row.name} is about; leave it out, or train"
                    " with owdfa compare"
                )


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of nested settings."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _grid(
    row: PublishedRow, options: ReproduceOptions, selections: Sequence[Selection]
) -> GridOptions:
    grid = row.grid(options.source, selections)
    return grid.model_copy(
        update={
            "methods": tuple(row.text(each, options.recipe) for each in selections),
            "seeds": options.seeds or grid.seeds,
            "split_seeds": options.split_seeds or grid.split_seeds,
            "config": options.config,
            "overrides": options.overrides,
        }
    )


def _settings(grid: GridOptions) -> RunSettings:
    """The settings of the first row, but for the number of classes."""
    return parse_row(grid.methods[0], grid.recipe).settings(grid)


def _differences(
    row: PublishedRow, options: ReproduceOptions, grid: GridOptions
) -> tuple[list[str], list[str]]:
    """What is not as published, and what is equal up to rounding or not certain."""
    differs, notes = _shortage(options.source)
    if options.checkpoint is not None:
        if not hasattr(catalog.load("datasets", row.dataset), "paper_roles"):
            notes.append(
                "the release's own split is not known, so the checkpoint may have been trained on"
                " some of these test images"
            )
        return differs, notes
    ours, theirs = _settings(grid), _settings(row.grid(options.source, (row.entry.selection,)))
    lines = ours.differences(theirs, (*MAY_CHANGE, *UP_TO_ROUNDING))
    differs += [line.replace(" there, ", " published, ") for line in lines]
    if ours.precision != theirs.precision:
        notes.append(f"computed in {ours.precision}, equal up to rounding")
    return differs, notes


def _shortage(source: str) -> tuple[list[str], list[str]]:
    """Say where a data set is not whole: first, where so much is missing that numbers differ."""
    name, root = parse_source(source)
    adapter = catalog.load("datasets", name)
    counts = adapter.check(root) if hasattr(adapter, "check") else []
    there = sum(min(each.num_images, each.expected) for each in counts)
    expected = sum(each.expected for each in counts)
    line = (
        f"{there:,} of the {expected:,} images that the protocols use are there"
        f" (owdfa data check {name} {root})"
    )
    if there >= expected:
        return [], []
    return ([line], []) if there < _ENOUGH * expected else ([], [line])


def _train(
    output: Path,
    grid: GridOptions,
    selections: Sequence[Selection],
    workers: Local | Cluster,
    show: ShowStage,
    tell: Tell,
) -> tuple[list[Way], dict[str, str]]:
    """Train a grid whose rows differ in the choice of the checkpoint."""
    results, failed = train_grid(output, grid, workers, show=show, tell=tell)
    ways = [
        Way(
            _name(place, selection, grid.rule),
            selection,
            grid.rule,
            [each for each in results if each.cell.row == text],
        )
        for place, (text, selection) in enumerate(zip(grid.methods, selections, strict=True))
    ]
    return ways, failed


def _name(place: int, selection: Selection, rule: str) -> str:
    named = "as published" if place == 0 and rule == "paper" else f"{selection} checkpoint"
    return named if rule == "paper" else f"{named}, groups kept whole"
