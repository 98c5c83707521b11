"""For those who add a method: files to start from, and a check of what every method must do."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Start something of your own.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``method`` as a command, though it is the only one."""


@app.command()
def method(
    name: Annotated[
        str, typer.Argument(help="In a checkout of owdfa, its name; elsewhere mypackage.mymethod.")
    ],
) -> None:
    """Write a small method, its recipes and its test, which run as they are."""
    from owdfa.extending.new import new_method

    here = Path.cwd()
    made = new_method(name, here)
    for path in made.files:
        typer.echo(os.path.relpath(path, here))
    test, where = os.path.relpath(made.test, here), "PYTHONPATH=. " if "." in name else ""
    typer.echo("next:")
    typer.echo(f"  {where}owdfa check-method {name}")
    typer.echo(f"  {where}python -m pytest {shlex.quote(test)}")
    typer.echo(f"  {where}owdfa train --split split --method {name} --recipe tiny -o runs/{name}")


def check_method(
    name: Annotated[str, typer.Argument(help="A method, or mypackage.mymethod.")],
) -> None:
    """Check what every method must do, on toy images; exit 1 where a rule is broken."""
    from owdfa.extending.check import check_method as check

    outcomes = []
    for result in check(name):
        why = f": {result.why}" if result.why else ""
        typer.echo(f"{result.outcome:<8}{result.rule}{why}")
        outcomes.append(result.outcome)
    failed = outcomes.count("FAILED")
    typer.echo(f"{name}: {failed} of {len(outcomes)} rules FAILED" if failed else f"{name}: ok")
    if failed:
        raise typer.Exit(1)
