"""The command ``owdfa``: collects the groups, and turns the user's mistakes into one line."""

import errno
import sys
from io import TextIOWrapper

import typer

from owdfa.cli import (
    audit,
    benchmarks,
    compare,
    data,
    discover,
    extend,
    lists,
    models,
    reproduce,
    serve,
    stages,
    stress,
)
from owdfa.cli.process import keep_memory, share_cores
from owdfa.errors import UserError

HELP = """Open-world deepfake attribution: which known method made an image, which novel ones there
are, and with what confidence.

In order: data scan, data prepare, split, train, predict, score, report; or all at once: run.
A verdict on images and videos: attribute, report, verify. On what it names no type for: discover,
review, promote, and rescan with the next run.
"""

_INTERRUPTED = 130
_TRAIN_EXTRA = (
    *("huggingface_hub", "onnx", "onnxscript", "safetensors", "tensorboard"),
    *("sklearn", "timm", "torch", "torchvision"),
)
_SERVE_EXTRA = ("fastapi", "multipart", "python_multipart", "starlette", "uvicorn")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="owdfa",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # drawing help in boxes would double the start-up time
    pretty_exceptions_enable=False,
)
stages.add_run(app)
benchmarks.add_benchmarks(data.app)
data.app.command()(audit.audit)
app.add_typer(data.app, name="data")
stages.add_stages(app)
app.command()(discover.discover)
app.add_typer(discover.app, name="review")
app.command()(discover.promote)
app.command()(discover.rescan)
app.command()(serve.serve)
app.command()(stress.stress)
compare.add_compare(app)
reproduce.add_reproduce(app)
app.add_typer(models.app, name="models")
app.add_typer(extend.app, name="new")
app.command()(extend.check_method)
lists.add_lists(app)


def main() -> None:
    """Run the command line; exit 2 with one line on stderr for what the user can fix."""
    keep_memory()
    share_cores()
    _print_whatever_comes()
    try:
        app()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's way of saying Ctrl-C
            _fail("stopped; where the command has --resume, it continues with it", _INTERRUPTED)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except (UserError, ModuleNotFoundError, OSError) as error:
        advice = _advice(error)
        if advice is None:
            raise
        sys.exit(_fail(advice, 2))


def _print_whatever_comes() -> None:
    """Print what the terminal's encoding lacks as an escape: names of classes and files."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _advice(error: Exception) -> str | None:
    """What the user can do; None where that is nothing."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in _TRAIN_EXTRA:
        hint = "pip install 'owdfa[train]' (an exported model predicts without it)"
        return f"this command needs {error.name}, which is not installed; {hint}"
    if isinstance(error, ModuleNotFoundError) and error.name in _SERVE_EXTRA:
        return (
            f"this command needs {error.name}, which is not installed; pip install 'owdfa[serve]'"
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        # Of a log, say: other outputs turn it into a UserError themselves.
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk is full; free some space and run the command again"
    return None


def _fail(reason: str, status: int) -> int:
    line = " ".join(reason.split())
    print(f"owdfa: {line}", file=sys.stderr)
    return status
