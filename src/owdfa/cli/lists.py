"""What there is: methods, data sets, recipes and other catalogues; and what this machine has."""

import inspect
import shutil
import textwrap
from typing import Annotated

import typer

from owdfa import catalog
from owdfa.records.provenance import mark


def add_lists(app: typer.Typer) -> None:
    """Add the listing commands to ``app``."""
    for command in (
        methods,
        estimators,
        datasets,
        protocols,
        backbones,
        recipes,
        settings,
        doctor,
    ):
        app.command()(command)


def methods() -> None:
    """List the methods that owdfa train --method takes."""
    rows = []
    for name in catalog.names("methods"):
        # A reconstruction names what had to be chosen.
        chosen = getattr(catalog.load("methods", name), "CHOSEN", ())
        said = f" Chosen here: {', '.join(chosen)}." if chosen else ""
        rows.append((mark(name, bool(chosen)), _first_line("methods", name) + said))
    _print(rows)


def estimators() -> None:
    """List the estimators of the number of classes."""
    _print([(name, _first_line("estimators", name)) for name in catalog.names("estimators")])


def datasets() -> None:
    """List the data sets; owdfa data scan takes NAME:PATH."""
    described = [
        (f"{name}:", catalog.load("datasets", name).DESCRIPTION)
        for name in catalog.names("datasets")
    ]
    _print(described)


def protocols() -> None:
    """List the protocols that owdfa split --protocol takes."""
    from owdfa.protocols import describe

    _print(describe())


def backbones() -> None:
    """List backbones by library; one is named <library>/<model>."""
    rows = []
    for name in catalog.names("backbones"):
        models = catalog.load("backbones", name).names()
        shown = ", ".join(models[:6]) + (", ..." if len(models) > 6 else "")
        rows.append((f"{name}/", f"{len(models)} models: {shown}"))
    _print(rows)


def recipes() -> None:
    """List the recipes: the settings of a whole run, by name."""
    rows = [
        (n, catalog.text("recipes", n).splitlines()[0].lstrip("# "))
        for n in catalog.names("recipes")
    ]
    _print(rows)


def settings(
    method: Annotated[str | None, typer.Option(help="The method; the default is cal.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Its recipe; the default is its paper's.")
    ] = None,
) -> None:
    """Print all settings, explained, as TOML for --config."""
    from owdfa.runs.settings import load_settings
    from owdfa.runs.settings_toml import commented_toml

    chosen = {"method": {"name": method}} if method else {}
    typer.echo(commented_toml(load_settings(recipe, explicit=chosen)), nl=False)


def doctor() -> None:
    """Show what this machine has, and what is missing."""
    from owdfa.doctor import examine

    findings = examine()
    _print([(finding.part, finding.text) for finding in findings])
    if any(not finding.good for finding in findings):
        raise typer.Exit(1)


def _first_line(kind: str, name: str) -> str:
    return (inspect.getdoc(catalog.load(kind, name)) or "").splitlines()[0]


def _print(rows: list[tuple[str, str]]) -> None:
    """Print two columns; a long text is wrapped in its column."""
    indent = max((len(name) for name, _ in rows), default=0) + 2
    columns = max(shutil.get_terminal_size().columns, indent + 40)
    for name, text in rows:
        first, *more = textwrap.wrap(text, columns - indent) or [""]
        typer.echo(f"{name:<{indent}}{first}")
        for line in more:
            typer.echo(" " * indent + line)
