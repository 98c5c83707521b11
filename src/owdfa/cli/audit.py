"""``owdfa data audit``: what is wrong with images and their split."""

from pathlib import Path
from typing import Annotated

import typer

from owdfa.cli.progress import print_note, progress_bar


def audit(
    place: Annotated[Path, typer.Argument(help="Folder of a split, or a manifest.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="HTML page to write.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run whose embedding shows neighbours and doubtful labels.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of the crops, if it was moved.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest of the split, if it was moved.")
    ] = None,
) -> None:
    """Look for copies, leaks, shortcuts and doubtful labels; exit 1 when there is a leak."""
    from owdfa.config import parse_settings
    from owdfa.stages.audit import AuditOptions
    from owdfa.stages.audit import audit as stage

    given = {"run": run, "store": store, "manifest": manifest}
    options = parse_settings(AuditOptions, given, "data audit")
    with progress_bar("audit") as report:
        found = stage(place, output, options=options, on_progress=report)
    for each in found.findings:
        typer.echo(f"{'LEAK: ' if each.is_leak else ''}{each.kind}: {each.line}")
    for note in found.notes:
        print_note(note)
    page = f"; page: {output}" if output is not None else ""
    leaks = f"{found.num_leaks} {'leak' if found.num_leaks == 1 else 'leaks'}"
    others = len(found.findings) - found.num_leaks
    typer.echo(f"{place}: {len(found.images)} images, {leaks}, {others} other findings{page}")
    if found.num_leaks:
        raise typer.Exit(1)
