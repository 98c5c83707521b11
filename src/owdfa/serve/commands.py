"""Long commands on the case, such as ``owdfa discover``: one at a time, each in a process."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from owdfa.errors import UserError
from owdfa.serve.jobs import Command
from owdfa.serve.pool import child_environment

_OPTIONS = (
    *("-o", "--output", "--run", "--by", "--min-size", "--parts", "--seed", "--jobs"),
    *("--manifest", "--split", "--store", "--keep"),
)
_KEPT = 2**16  # last bytes of output
_MAX_NOTE = 500


class Outcome(NamedTuple):
    """What became of a command."""

    done: bool
    note: str  # its last line


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that the command would take for something else than they are.

    What does not begin with ``-`` is a value, and of what does only some names are options: the
    name of a group cannot become one.

    Raises:
        UserError: One begins with ``-``, or holds a character that no argument can have.
    """
    for each in arguments:
        if each.startswith("-") and each not in _OPTIONS:
            raise UserError(f"{each[:80]}: begins with '-'; write it in another way")
        if "\0" in each:
            raise UserError("a NUL character is part of no name; leave it out")


async def run_command(command: Command) -> Outcome:
    """Run ``owdfa KIND ARGUMENTS`` until it ends; cancelled, it is ended."""
    environment = {**child_environment(), "LOGNAME": command.who, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "owdfa", command.kind, *command.arguments, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said, complained, status = await asyncio.gather(
            _last_line(process.stdout), _last_line(process.stderr), process.wait()
        )
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if status == 0:
        return Outcome(True, said)
    told = complained.removeprefix("owdfa: ") or said
    return Outcome(False, told or f"it ended with status {status}")


async def _last_line(stream: asyncio.StreamReader) -> str:
    """The last line of some output that is not empty."""
    kept = b""
    while part := await stream.read(_KEPT):
        kept = (kept + part)[-_KEPT:]
    lines = kept.decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:_MAX_NOTE]
