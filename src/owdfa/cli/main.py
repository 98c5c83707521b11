"""The command ``owdfa``: collects the groups, and turns the user's mistakes into one line."""

import errno
import sys

import typer

from owdfa.cli import data, lists, models, stages
from owdfa.cli.memory import keep_memory
from owdfa.errors import UserError

HELP = """Open-world deepfake attribution: which known method made an image, which novel ones there
are, and with what confidence.

In order: data scan, data prepare, split, train, predict, score, report; or all at once: run.
"""

_INTERRUPTED = 130
_TRAIN_EXTRA = (
    *("huggingface_hub", "onnx", "onnxscript", "safetensors", "tensorboard"),
    *("sklearn", "timm", "torch", "torchvision"),
)
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
app.add_typer(data.app, name="data")
stages.add_stages(app)
app.add_typer(models.app, name="models")
lists.add_lists(app)


def main() -> None:
    """Run the command line; exit 2 with one line on stderr for what the user can fix."""
    keep_memory()
    try:
        app()
    except UserError as error:
        sys.exit(_fail(str(error), 2))
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's way of saying Ctrl-C
            _fail("stopped; where the command has --resume, it continues with it", _INTERRUPTED)
        raise
    except ModuleNotFoundError as error:
        if error.name not in _TRAIN_EXTRA:
            raise
        hint = "pip install 'owdfa[train]' (an exported model predicts without it)"
        sys.exit(_fail(f"this command needs {error.name}, which is not installed; {hint}", 2))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a log, say: other outputs turn it into a UserError themselves
        if error.errno not in _FULL:
            raise
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_fail(f"{where}the disk is full; free some space and run the command again", 2))


def _fail(reason: str, status: int) -> int:
    line = " ".join(reason.split())
    print(f"owdfa: {line}", file=sys.stderr)
    return status
