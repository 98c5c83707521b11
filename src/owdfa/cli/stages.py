"""The stages as commands, in the order in which data goes through them."""

import csv
import unicodedata
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from owdfa.cli.data import MaxBad
from owdfa.cli.progress import print_note, progress_bar
from owdfa.progress import no_progress

if TYPE_CHECKING:
    from owdfa.runs.settings import RunSettings

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the training run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")]
Recipe = Annotated[
    str | None,
    typer.Option(help="Recipe of the method, e.g. tiny; the default is its paper's."),
]
SmallRecipe = Annotated[
    str | None, typer.Option(help="Recipe of the method, e.g. gpu; the default is for a few cores.")
]
Store = Annotated[Path | None, typer.Option(help="Folder of the crops, if it was moved.")]
Config = Annotated[
    Path | None, typer.Option(help="TOML file of settings; they override the recipe.")
]
MovedSplit = Annotated[Path | None, typer.Option("--split", help="The split, if it was moved.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, e.g. epochs=20; see owdfa settings.")
]
MethodName = Annotated[str | None, typer.Option(help="The method: see owdfa methods.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Number of classes, known and novel; auto finds it, auto:gcd estimates it."),
]
ClassesFrom = Annotated[
    str | None, typer.Option(help="Run whose embedding gives the number to auto:<estimator>.")
]
Weights = Annotated[
    str | None, typer.Option(help="Weights of the backbone: a file, hub, package or none.")
]
GroupLevel = Annotated[
    int | None, typer.Option(help="Level of the sub-folder that is the group; 1 is the class.")
]
GroupRegex = Annotated[
    str | None, typer.Option(help="Pattern on the path whose first (...) is the group.")
]
Labelled = Annotated[
    float | None, typer.Option(help="Share of known classes' training images that are labelled.")
]
Test = Annotated[float | None, typer.Option(help="Share of each class to test on.")]
Validation = Annotated[float | None, typer.Option(help="Share of labelled images held back.")]
Rule = Annotated[
    str | None, typer.Option(help="group never cuts a group; paper assigns each image alone.")
]
SplitSeed = Annotated[int | None, typer.Option(help="Seed of the split.")]
Known = Annotated[
    str | None, typer.Option(help='Known classes, separated by commas; "a, b" is one class.')
]
Protocol = Annotated[str | None, typer.Option(help="Protocol, e.g. lab/p1: see owdfa protocols.")]

Ray = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster, or auto for one on this machine's cores."),
]


def add_run(app: typer.Typer) -> None:
    """Add ``run``, ahead of the stages."""
    app.command(short_help="Run all stages, from images to a report.")(run)


def add_stages(app: typer.Typer) -> None:
    """Add the stages to ``app``."""
    from owdfa.cli.predict import predict
    from owdfa.cli.report import report, verify
    from owdfa.cli.verdict import attribute, calibrate

    app.command()(split)
    app.command(short_help="Train a method.")(train)
    app.command(short_help="Choose the thresholds of verdicts.")(calibrate)
    app.command(short_help="Predict the type of each image.")(predict)
    app.command(short_help="Give a verdict of each face, into a case.")(attribute)
    for command in (export, score, report, verify):
        app.command()(command)


def run(
    source: Annotated[
        str, typer.Argument(help="folder:DIR, csv:FILE, owdfa40:DIR or lab:", metavar="SOURCE")
    ],
    output: Output,
    method: MethodName = None,
    classes: Classes = None,
    classes_from: ClassesFrom = None,
    protocol: Protocol = None,
    known: Known = None,
    group_level: GroupLevel = None,
    group_regex: GroupRegex = None,
    labelled: Labelled = None,
    test: Test = None,
    validation: Validation = None,
    rule: Rule = None,
    split_seed: SplitSeed = None,
    max_bad: MaxBad = 0.01,
    seed: Seed = None,
    recipe: SmallRecipe = None,
    config: Config = None,
    settings: Set = None,
    weights: Weights = None,
    faces: Annotated[
        str | None,
        typer.Option(
            help="Face detector: dlib, centerface or none; the default is the data set's."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Another method to train and compare with, e.g. supervised.")
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(help="A method to fit to this run's network, and compare with, e.g. plda."),
    ] = None,
    resume: Resume = False,
) -> None:
    """Run all stages: scan, prepare, split, train, predict, score, report."""
    from owdfa.cli.tables import print_scores
    from owdfa.config import parse_settings
    from owdfa.pipeline import PathOptions, choose_settings, refit_settings
    from owdfa.pipeline import run as whole

    given: dict[str, Any] = {"method": method, "classes": classes, "classes_from": classes_from}
    given |= {"seed": seed, "weights": weights}
    chosen, note = choose_settings(source, recipe, config, settings or [], _explicit(given))
    if note is not None:
        print_note(note)
    beside = {
        "baseline": baseline and _baseline(chosen, baseline, recipe or "tiny", config, settings),
        "refit": refit and refit_settings(chosen, refit, output),
    }
    division = {
        "protocol": protocol,
        "known": names(known),
        "labelled": labelled,
        "test": test,
        "validation": validation,
        "rule": rule,
        "seed": split_seed,
    }
    listing = {"group_level": group_level, "group_regex": group_regex, "max_bad": max_bad}
    others = {
        "scan": listing,
        "split": {name: value for name, value in division.items() if value is not None},
        "faces": faces,
        "beside": {name: each for name, each in beside.items() if each},
        "resume": resume,
    }
    options = parse_settings(PathOptions, others, "run")
    outcome = whole(
        source, output, settings=chosen, options=options, show=progress_bar, tell=print_note
    )
    if outcome.scores:
        print_scores(outcome.scores)
    typer.echo(f"report: {outcome.page}")


def split(
    manifest: Annotated[Path, typer.Argument(help="What owdfa data scan wrote.")],
    output: Output,
    protocol: Protocol = None,
    known: Known = None,
    labelled: Labelled = None,
    test: Test = None,
    validation: Validation = None,
    rule: Rule = None,
    seed: SplitSeed = None,
    like: Annotated[
        Path | None, typer.Option(help="Earlier split: its test images stay so, its shares hold.")
    ] = None,
) -> None:
    """Split images into training and test; a group is never cut."""
    from owdfa.config import parse_settings
    from owdfa.stages.split import SplitOptions
    from owdfa.stages.split import split as stage

    given = {
        "protocol": protocol,
        "known": names(known),
        "labelled": labelled,
        "test": test,
        "validation": validation,
        "rule": rule,
        "seed": seed,
        "like": like,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    made = stage(manifest, output, options=parse_settings(SplitOptions, chosen, "split"))
    counts = ", ".join(f"{num} {role}" for role, num in made.num_images().items() if num)
    typer.echo(f"{output}: {len(made.known)} known and {len(made.novel)} novel classes; {counts}")
    typer.echo(f"rule {made.basis.rule}, digest {made.digest()}")
    for note in made.notes:
        print_note(note)


def train(
    split: Annotated[Path, typer.Option("--split", help="What owdfa split wrote.")],
    output: Output,
    method: MethodName = None,
    classes: Classes = None,
    classes_from: ClassesFrom = None,
    seed: Seed = None,
    recipe: Recipe = None,
    config: Config = None,
    settings: Set = None,
    weights: Weights = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Run to continue: its settings, network and classes.", metavar="RUN"
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Number of processes that share each batch: a GPU, or some cores, each."),
    ] = None,
    store: Store = None,
    resume: Resume = False,
) -> None:
    """Train a method; settings, checkpoints and log are in the run folder."""
    from owdfa.distributed import is_first_process, launched
    from owdfa.runs.run import Run
    from owdfa.runs.settings import load_settings
    from owdfa.stages.train import train as stage

    given: dict[str, Any] = {"method": method, "classes": classes, "classes_from": classes_from}
    given |= {"seed": seed, "weights": weights, "devices": devices}
    chosen = load_settings(recipe, config, settings or [], _explicit(given), from_)
    is_first = is_first_process()  # torchrun starts this command several times
    done = resume and Run.exists(output) and Run.open(output).metadata.complete
    with progress_bar("train") if is_first else nullcontext(no_progress) as report:
        run = stage(split, output, settings=chosen, resume=resume, store=store, on_progress=report)
    # Where torch started processes for --devices, the first of them has printed this already.
    if is_first and (chosen.devices == 1 or launched()):
        classes_ = f"{run.num_active} classes, {len(run.known)} of them known"
        typer.echo(f"{output}: {'complete already; ' if done else ''}{classes_}")
        for line in run.findings:
            typer.echo(line)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Output,
    check: Annotated[
        list[str] | None,
        typer.Option(help="Images to compare on: a folder or files; the default is the split's."),
    ] = None,
    split: MovedSplit = None,
    store: Store = None,
) -> None:
    """Export the network to one file that needs no torch."""
    from owdfa.stages.export import export as stage

    note = stage(
        run, output, check=named_images(check) if check else None, split=split, store=store
    )
    parity = note.parity
    typer.echo(
        f"{output}: {len(note.classes)} classes, {note.num_known} of them known;"
        f" {output.stat().st_size / 1e6:.1f} MB"
    )
    typer.echo(
        f"largest difference on {parity.num_images} images of {parity.images}:"
        f" {parity.probabilities:.1e} in a probability, {parity.embedding:.1e} in an embedding"
    )


def score(
    predictions: Annotated[Path, typer.Argument(help="What owdfa predict wrote.")],
    split: Annotated[Path, typer.Option("--split", help="What owdfa split wrote.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON to write.")] = None,
) -> None:
    """Score predictions under both conventions of the field."""
    from owdfa.cli.tables import print_scores
    from owdfa.stages.score import score as stage

    print_scores({"": stage(predictions, split, output)})


def _explicit(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the user gave, as nested settings."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for option, section, name in (("method", "method", "name"), ("weights", "backbone", "weights")):
        if option in chosen:
            chosen[section] = {name: chosen.pop(option)}
    return chosen


def _baseline(
    settings: "RunSettings",
    method: str,
    recipe: str | None,
    config: Path | None,
    overrides: list[str] | None,
) -> "RunSettings":
    """Settings of a method to compare with: its own recipe of the same name, the same seed."""
    from owdfa.runs.settings import load_settings

    size = (recipe or "").removeprefix(f"{settings.method.name}-") or None
    shared = [pair for pair in overrides or [] if not pair.startswith(("method.", "stages"))]
    chosen = {"method": {"name": method}, "seed": settings.seed}
    return load_settings(size, config, shared, chosen)


def named_images(named: list[str]) -> str | list[Path]:
    """A single name may be a folder or a role of a split; several are files."""
    return named[0] if len(named) == 1 else [Path(name) for name in named]


def names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between; one that has a comma itself stands in quotes, as in CSV."""
    if not text:
        return None
    parts = next(csv.reader([unicodedata.normalize("NFC", text)], skipinitialspace=True))
    return tuple(part.strip() for part in parts)
