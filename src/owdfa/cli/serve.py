"""``owdfa serve``: a case on a page, and over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

PORT = 8765


def serve(
    place: Annotated[Path, typer.Argument(help="A case, or a run that gives verdicts.")],
    case: Annotated[
        Path | None, typer.Option(help="Of a run: the case that verdicts go to.  [default: case]")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Of a case: the run that gives verdicts; its last one.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 lets other machines ask.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="OWDFA_TOKEN", show_envvar=True,
            help="What requests must bring, 16 characters or more; made anew beyond 127.0.0.1.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Another name of this machine, e.g. a proxy's.")
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="A proxy in front speaks https.")] = False,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.")] = 0,
) -> None:  # fmt: skip
    """Show a case on a page: attribute files, review groups, look up types, runs and journal."""
    from owdfa.config import parse_settings
    from owdfa.serve.place import Place
    from owdfa.serve.server import run as serve_app
    from owdfa.serve.settings import ServeSettings

    given = {
        "host": host, "port": port, "token": token, "names": tuple(name or ()),
        "scheme": "https" if https else "http", "workers": workers,
    }  # fmt: skip
    settings = parse_settings(ServeSettings, given, "serve")
    serve_app(Place.find(place, case=case, run=run), settings, typer.echo)
