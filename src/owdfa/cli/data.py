"""``owdfa data``: list, generate, download, check, build and crop images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar

if TYPE_CHECKING:
    import pyarrow as pa

    from owdfa.checks.classes import ClassSize

app = typer.Typer(help="List, generate, download, build and crop images.", no_args_is_help=True)

_MAX_CLASSES = 60  # that are printed

Address = Annotated[
    str | None, typer.Option("--from", help="Base address; the published one otherwise.")
]
Jobs = Annotated[int, typer.Option(help="Number of files at once; 0 is one a core.")]
MaxBad = Annotated[
    float, typer.Option(help="How many bad images to tolerate: a count, or a share below 1.")
]


@app.command()
def scan(
    source: Annotated[
        str,
        typer.Argument(
            help="folder:DIR, csv:FILE, lab:DIR, owdfa40:DIR, ...: see owdfa datasets.",
            metavar="SOURCE",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The manifest to write.")],
    group_level: Annotated[
        int | None, typer.Option(help="Level of the sub-folder that is the group; 1 is the class.")
    ] = None,
    group_regex: Annotated[
        str | None, typer.Option(help="Pattern on the path whose first (...) is the group.")
    ] = None,
    max_bad: MaxBad = 0.01,
    jobs: Jobs = 0,
) -> None:
    """List images with class, size, format and SHA-256, and the bad ones."""
    from owdfa.checks.classes import class_sizes
    from owdfa.cli.tables import print_notes
    from owdfa.config import parse_settings
    from owdfa.stages.scan import ScanOptions, notes_on
    from owdfa.stages.scan import scan as stage

    given = {
        "group_level": group_level,
        "group_regex": group_regex,
        "max_bad": max_bad,
        "jobs": jobs,
    }
    options = parse_settings(ScanOptions, given, "data scan")
    with progress_bar("scan") as report:
        manifest = stage(source, output, options=options, on_progress=report)
    table = manifest.table
    usable = manifest.usable().table
    sizes = class_sizes(usable)
    classes = sum(size.name is not None for size in sizes)
    bad = table.num_rows - usable.num_rows
    typer.echo(f"{output}: {table.num_rows} images, {classes} classes, {bad} bad")
    _list_classes(sizes)
    _list_bad(table)
    print_notes(output)
    for note in notes_on(manifest):
        print_note(note)


@app.command()
def prepare(
    manifest: Annotated[Path, typer.Argument(help="What owdfa data scan wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the store.")],
    faces: Annotated[
        str, typer.Option(help="Face detector: dlib, centerface, or none for the whole image.")
    ] = "none",
    size: Annotated[int, typer.Option(help="Side of the kept crops, in pixels.")] = 292,
    fit: Annotated[
        str, typer.Option(help="resize, or native: crops cut out at the image's own resolution.")
    ] = "resize",
    max_bad: MaxBad = 0.01,
    jobs: Jobs = 0,
) -> None:
    """Crop the face of each image into a store; continues where it was stopped."""
    from owdfa.records.manifest import Manifest
    from owdfa.stages.prepare import prepare as stage

    with progress_bar("prepare") as report:
        store = stage(
            manifest,
            output,
            faces=faces,
            size=size,
            fit=fit,  # type: ignore[arg-type]  # checked there
            jobs=jobs,
            max_bad=max_bad,
            on_progress=report,
        )
    typer.echo(f"{output}: {store.table.num_rows} crops of {store.size} px")
    _list_bad(Manifest.read(manifest, ("path", "error")).table)


@app.command()
def draw(
    folder: Annotated[Path, typer.Argument(help="Folder to write; then scan it as lab:DIR.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. images_per_method=100.")
    ] = None,
    jobs: Jobs = 0,
) -> None:
    """Generate lab, the built-in synthetic benchmark.

    Continues where it was stopped.
    """
    from owdfa.config import parse_overrides, parse_settings
    from owdfa.datasets.lab import LabSettings
    from owdfa.datasets.lab import draw as stage

    chosen = parse_settings(LabSettings, parse_overrides(settings or []), "data draw")
    with progress_bar("draw") as report:
        stage(folder, chosen, jobs=jobs, on_progress=report)
    typer.echo(f"{folder}: synthetic images; scan them as lab:{folder}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Data set to download: owdfa40.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to unpack into.")],
    address: Address = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A folder to fetch, again if it is there; may be given several times."),
    ] = None,
) -> None:
    """Download a published data set, check it and unpack it.

    Continues where it was stopped.
    """
    from owdfa.download.fetch import get as stage

    with progress_bar("get") as report:
        missing = stage(name, output, address=address, only=only or (), on_progress=report)
    if missing:
        typer.echo(f"{output}: the address does not offer {', '.join(missing)}")
    typer.echo(f"{output}: scan it as {name}:{output}")


def _list_classes(sizes: "list[ClassSize]") -> None:
    """Print the number of images and groups of each class, of the first ``_MAX_CLASSES``."""
    shown = sizes[:_MAX_CLASSES]
    names = ["(unlabelled)" if size.name is None else size.name for size in shown]
    width = min(max(map(len, ["class", *names])), 40)
    typer.echo(f"  {'class':<{width}} {'images':>9} {'groups':>9}")
    for name, size in zip(names, shown, strict=True):
        typer.echo(f"  {name:<{width}} {size.num_images:>9} {size.num_groups:>9}")
    if left := sizes[_MAX_CLASSES:]:
        num_images = sum(size.num_images for size in left)
        typer.echo(f"  ... and {len(left)} more classes with {num_images} images")


def _list_bad(table: "pa.Table") -> None:
    """Print the images that cannot be used, twenty at most."""
    import pyarrow.compute as pc

    bad = table.filter(pc.is_valid(table["error"]))
    for path, error in zip(bad["path"].to_pylist()[:20], bad["error"].to_pylist(), strict=False):
        typer.echo(f"  left out: {path}: {error}")
    if bad.num_rows > 20:
        typer.echo(f"  ... and {bad.num_rows - 20} more, in the column error of the manifest")
