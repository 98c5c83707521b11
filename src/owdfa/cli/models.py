"""``owdfa models``: networks that others trained."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Use networks that others trained.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``import`` as a command, though it is the only one."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A checkpoint as released by its authors.")],
    method: Annotated[str, typer.Option(help="The method it was trained with.")] = "cal",
    protocol: Annotated[
        str, typer.Option(help="The protocol it was trained on: names its known classes.")
    ] = "owdfa40/p1",
    backbone: Annotated[
        str, typer.Option(help="Its network, as <library>/<model>.")
    ] = "timm/resnet50",
    size: Annotated[int, typer.Option(help="Side of its input images, in pixels.")] = 256,
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder to make.")] = Path(
        "runs/imported"
    ),
) -> None:
    """Turn a released checkpoint into a run folder.

    owdfa predict takes it as it takes a run of your own.
    """
    from owdfa.runs.official import import_checkpoint

    run = import_checkpoint(
        file, output, method=method, protocol=protocol, backbone=backbone, size=size
    )
    typer.echo(f"{output}: {run.num_active} classes, {len(run.known)} of them known")
