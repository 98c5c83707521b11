"""``owdfa data check`` and ``owdfa data build``: published benchmarks, whole and put together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owdfa.cli.data import Address
from owdfa.cli.progress import progress_bar

if TYPE_CHECKING:
    from owdfa.datasets.base import FolderCount
    from owdfa.datasets.owdfa import Built

building = typer.Typer(
    help="Put a benchmark together from the data sets that it is made of.", no_args_is_help=True
)


def add_benchmarks(app: typer.Typer) -> None:
    """Add the commands to ``owdfa data``."""
    app.command()(check)
    app.add_typer(building, name="build")


def check(
    name: Annotated[str, typer.Argument(help="Data set that was unpacked: owdfa40.")],
    folder: Annotated[Path, typer.Argument(help="Where it was unpacked.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch what is missing or incomplete again.")
    ] = False,
    address: Address = None,
) -> None:
    """Compare what was unpacked with the number of images that the protocols use.

    Exit status 1 when a folder is missing or has fewer.
    """
    from owdfa import catalog
    from owdfa.download.fetch import get
    from owdfa.errors import UserError

    adapter = catalog.load("datasets", name)
    if not hasattr(adapter, "check"):
        raise UserError(f"{name}: it is not known how many images it must have; nothing to check")
    counts = adapter.check(str(folder))
    short = [each.folder for each in counts if each.num_images < each.expected]
    if repair and short:
        with progress_bar("repair") as report:
            get(name, folder, address=address, only=short, on_progress=report)
        counts = adapter.check(str(folder))
    short = _print_counts(counts)
    if short:
        typer.echo(
            f"{folder}: {len(short)} of {len(counts)} folders are missing or incomplete; "
            f"--repair fetches them again, owdfa data get {name} -o {folder} --only FOLDER one"
        )
        raise typer.Exit(1)
    typer.echo(f"{folder}: all {len(counts)} folders are complete")


def _print_counts(counts: "list[FolderCount]") -> list[str]:
    """Print each folder and how it stands; the names of those that lack images."""
    width = max(len(each.folder) for each in counts)
    for folder, num_images, expected in counts:
        state = f"{num_images} of {expected}" if num_images else "missing"
        typer.echo(f"  {folder:<{width}}  {'ok' if num_images >= expected else state}")
    return [each.folder for each in counts if each.num_images < each.expected]


@building.command("owdfa")
def build_owdfa(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write owdfa.csv to.")],
    ffpp: Annotated[
        Path | None, typer.Option(help="FaceForensics++, its frames of c23 extracted.")
    ] = None,
    celebdf: Annotated[Path | None, typer.Option(help="Celeb-DF v2, its frames extracted.")] = None,
    forgerynet: Annotated[
        Path | None, typer.Option(help="ForgeryNet's training images, with image_list.txt.")
    ] = None,
    dffd: Annotated[Path | None, typer.Option(help="DFFD.")] = None,
    forgerynir: Annotated[Path | None, typer.Option(help="ForgeryNIR.")] = None,
    df3: Annotated[Path | None, typer.Option(help="DF^3, for OW-DFA++.")] = None,
    large: Annotated[
        bool, typer.Option("--large", help="Five times the images, as the release's large files.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 2000,
) -> None:
    """Build OW-DFA and OW-DFA++ as a CSV that names the files where they are."""
    from owdfa.datasets.owdfa import BuildOptions, build

    places = {
        "ffpp": ffpp,
        "celebdf": celebdf,
        "forgerynet": forgerynet,
        "dffd": dffd,
        "forgerynir": forgerynir,
        "df3": df3,
    }
    roots = {option: root for option, root in places.items() if root is not None}
    with progress_bar("build") as report:
        built = build(
            output, roots, options=BuildOptions(large=large, seed=seed), on_progress=report
        )
    _print_built(built)


def _print_built(built: "Built") -> None:
    """Print what was found of each class, what is missing, and what can be done."""
    width = max(len(each.name) for each in built.classes)
    typer.echo(f"  {'class':<{width}}  {'labelled':>16}  {'unlabelled':>16}  unused")
    for each in built.classes:
        labelled = f"{each.labelled} of {each.expected_labelled}"
        unlabelled = f"{each.unlabelled} of {each.expected_unlabelled}"
        typer.echo(f"  {each.name:<{width}}  {labelled:>16}  {unlabelled:>16}  {each.unused:>6}")
    for option, names in built.missing.items():
        listed = ", ".join(names) or "the AI-generated classes of OW-DFA++"
        typer.echo(f"  missing without --{option}: {listed}")
    for protocol, names in built.lacking.items():
        state = f"lacks {', '.join(names)}" if names else "can be used"
        typer.echo(f"  protocol {protocol}: {state}")
    if all(built.lacking.values()):
        known = ",".join(each.name for each in built.classes if each.expected_labelled)
        typer.echo(f"  the classes that are there can be split with --known {known or 'NAMES'}")
    typer.echo(f"{built.file}: scan it as owdfa:{built.file}")
