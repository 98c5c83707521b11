"""Compare: methods, protocols and seeds in one grid, and one table of what came out.

Everything lies in one folder::

    OUT/data/<source>/   images.parquet, store/
    OUT/splits/<protocol>-<seed>/      with -paper at the end under --rule paper
    OUT/cells/<row>/<classes>/<protocol>/<split seed>-<seed>/   a run folder, its scores and cost
    OUT/table.md  table.tex  cells.csv  index.html

A comparison that was stopped, in whatever way, goes on where it was: cells that are done stay, one
that was cut off resumes its training. More methods, protocols and seeds can be added.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from owdfa.compare.cell import is_done, write_cell
from owdfa.compare.grid import (
    GIVEN,
    NOT_USED,
    Cell,
    GridOptions,
    Row,
    rows_of,
    short_names,
    slug,
    source_of,
    told_classes,
    trainings,
)
from owdfa.compare.summary import Result, by_row, read_result
from owdfa.compare.tables import PAGE, Table, about, write_all
from owdfa.compare.workers import Clock, Cluster, Local
from owdfa.pipeline import PathOptions, collect
from owdfa.progress import OnProgress
from owdfa.records.split import Split
from owdfa.runs.lock import writing
from owdfa.runs.settings import RunSettings
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import check_settings

ShowStage = Callable[[str], AbstractContextManager[OnProgress]]
Tell = Callable[[str], None]


class Place(NamedTuple):
    """Where the images of a protocol are, from the folder of the comparison."""

    split: str
    store: str
    made: Split


class Trained(NamedTuple):
    """What came out of a grid.

    Attributes:
        results: Of the finished cells, in order.
        failed: Reason by cell.
    """

    results: list[Result]
    failed: dict[str, str]


class Comparison(NamedTuple):
    """What a comparison led to.

    Attributes:
        table: Of the finished cells.
        page: The HTML page; None where no cell is finished.
        failed: Reason by cell.
    """

    table: Table
    page: Path | None
    failed: dict[str, str]


def compare(
    output: Path,
    options: GridOptions,
    workers: Local | Cluster,
    *,
    show: ShowStage,
    tell: Tell,
    command: str = "",
) -> Comparison:
    """Train every cell of a grid that is not done, and write the table.

    Args:
        output: Folder of the comparison; may hold an earlier, smaller or unfinished one.
        options: The grid.
        workers: Who runs the cells.
        show: Opens a progress display for a stage.
        tell: Shows a line that the user should know.
        command: What the user typed, for the record.

    Raises:
        UserError: A row, a protocol or an option does not fit, before anything is trained; or the
            folder holds cells of other settings.
    """
    with writing(output):
        return _write(
            output, train_grid(output, options, workers, show=show, tell=tell), options, command
        )


def train_grid(
    output: Path, options: GridOptions, workers: Local | Cluster, *, show: ShowStage, tell: Tell
) -> Trained:
    """Train every cell of a grid that is not done; see ``compare``, which locks ``output``."""
    rows = rows_of(options)
    for note in _left_out(rows, options):
        tell(note)
    cells = _cells(output, rows, options, show)
    failed = _run(output, cells, workers, show, tell)
    finished = [cell for cell, _ in cells if cell.folder not in failed]
    return Trained([read_result(output, cell) for cell in finished], failed)


def _left_out(rows: Sequence[Row], options: GridOptions) -> list[str]:
    """A note on the rows that cannot find the number of classes, where they are asked to."""
    if "auto" not in options.classes:
        return []
    told = {row.name: told_classes(row, options) for row in rows}
    left = [name for name, ways in told.items() if "auto" not in ways and ways != [NOT_USED]]
    if not left:
        return []
    return [f"no row for --classes auto of what must be told the number: {', '.join(left)}"]


def _cells(
    output: Path, rows: Sequence[Row], options: GridOptions, show: ShowStage
) -> list[tuple[Cell, RunSettings]]:
    """Lay out the data, divide it, and settle every cell before one is trained."""
    names = short_names(options.protocols)
    places = lay_out(output, options, rows[0].settings(options), show)
    cells = []
    for row, told, protocol, split_seed, seed in trainings(rows, options):
        place = places[protocol, split_seed]
        settings = row.settings(options, _classes(told, place.made), seed)
        check_settings(settings, place.made)
        cell = Cell(
            row=row.name,
            classes=told,
            protocol=names[protocol],
            split_seed=split_seed,
            rule=options.rule,
            seed=seed,
            split=place.split,
            store=place.store,
        )
        cells.append((cell, settings))
    return cells


def lay_out(
    output: Path, options: GridOptions, settings: RunSettings, show: ShowStage
) -> dict[tuple[str, int], Place]:
    """Scan, prepare and split the images of every protocol, as far as that is not done.

    Args:
        output: Folder of the comparison.
        options: The grid.
        settings: Of one of its rows, for the size of the images.
        show: Opens a progress display for a stage.

    Returns:
        By protocol and seed of the split.
    """
    sources = {name: source_of(name, options.sources) for name in options.protocols}
    manifests = {}
    for source in dict.fromkeys(sources.values()):
        folder = output / "data" / slug(source)
        path = PathOptions(scan=options.scan, faces=options.faces, resume=True)
        manifests[source] = collect(source, folder, settings=settings, options=path, show=show)
    places = {}
    ending = "" if options.rule == "group" else f"-{options.rule}"
    for protocol, short in short_names(options.protocols).items():
        for seed in options.split_seeds:
            place = f"splits/{slug(short)}-{seed}{ending}"
            given = SplitOptions(
                protocol=protocol, seed=seed, rule=options.rule, validation=options.validation
            )
            source = sources[protocol]
            made = split(manifests[source], output / place, options=given)
            places[protocol, seed] = Place(place, f"data/{slug(source)}/store", made)
    return places


def _classes(told: str, made: Split) -> int | str:
    """The setting of a run for what a row is told of the number of classes."""
    if told == GIVEN:
        return len(made.known) + len(made.novel)
    return "auto" if told == NOT_USED else told


def _run(
    output: Path,
    cells: Sequence[tuple[Cell, RunSettings]],
    workers: Local | Cluster,
    show: ShowStage,
    tell: Tell,
) -> dict[str, str]:
    """Run what is not done; give the reasons of those that failed."""
    todo = [(cell, settings) for cell, settings in cells if not is_done(output, cell, settings)]
    num_done, failed = len(cells) - len(todo), {}
    if num_done:
        tell(f"{num_done} of {len(cells)} cells are done already")
    for cell, settings in todo:
        write_cell(output, cell, settings)
    clock = Clock(len(todo))
    with show("cells") as on_progress:

        def on_cell(cell: Cell, reason: str | None) -> None:
            clock.tick()
            if reason is not None:
                failed[cell.folder] = reason
            state = "failed" if reason else "done"
            note = f"{cell.label} {state}; {clock.left()}"
            on_progress(num_done + clock.done, len(cells), note)

        if todo:
            on_progress(num_done, len(cells), clock.left())
            workers.run(output, [cell for cell, _ in todo], on_cell)
    for folder, reason in failed.items():
        tell(f"{folder}: failed: {reason}")
    return failed


def _write(output: Path, trained: Trained, options: GridOptions, command: str) -> Comparison:
    from owdfa.compare.page import render

    results, failed = trained
    missing = [f"{folder} is missing: {reason}" for folder, reason in failed.items()]
    groups = [each.scores.intervals["num_groups"] for each in results]
    against = options.against or options.methods[0]
    table = Table(by_row(results), against, missing, about(command, groups))
    if not results:
        return Comparison(table, None, failed)
    write_all(table, results, render(table), output)
    return Comparison(table, output / PAGE, failed)
