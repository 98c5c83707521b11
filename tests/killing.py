"""Train in a process that kills itself at a chosen moment, as ``kill -9`` would."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages import train as stage
from tiny_data import DRIFT

# One server imports all this once; a child is then a matter of milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "owdfa.stages.train",
        "owdfa.backbones.tiny",
        "torch._dynamo",  # an optimiser imports it
        "torch.utils.tensorboard.writer",
    ]
)

RUN = [*DRIFT, "epochs=2", "log_every=1"]


class Moment(NamedTuple):
    """When to kill; each is counted from 0, and only one of them is given."""

    event: int = -1  # before this operation on a file or folder below the output
    step: int = -1  # after this training step of the process
    half: int = -1  # when this file of a checkpoint is half written
    fit: str = ""  # "before" or "after" the method is fitted to the whole training set


def train_until(
    split: Path, output: Path, moment: Moment, overrides: Sequence[str] = tuple(RUN)
) -> int:
    """Train, or continue to train, in a process of its own; return its exit code.

    Args:
        split: The split.
        output: The run folder.
        moment: When it kills itself.
        overrides: The run's settings.

    Returns:
        -9 when it was killed, 0 when it came to its end before that.
    """
    child = PROCESSES.Process(target=_train, args=(split, output, moment, list(overrides)))
    child.start()
    child.join()
    return child.exitcode


def _train(split: Path, output: Path, moment: Moment, overrides: list[str]) -> None:
    if moment.event >= 0:
        _kill_before_event(str(output), moment.event)
    if moment.half >= 0:
        _kill_half_way(moment.half)
    if moment.fit:
        _kill_at_fit(moment.fit)
    steps = iter(range(10**6))

    def watch(*_):
        if next(steps) == moment.step:
            _kill()

    chosen = load_settings(None, None, overrides)
    stage.train(split, output, settings=chosen, resume=True, on_progress=watch)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_before_event(place: str, number: int) -> None:
    seen = iter(range(10**6))

    def audit(name, arguments):
        text = repr(arguments[:2])
        if place in text and "tensorboard" not in text and next(seen) == number:
            _kill()

    sys.addaudithook(audit)


def _kill_half_way(number: int) -> None:
    whole = checkpoint._write_bytes
    seen = iter(range(10**6))

    def write(path, content):
        if next(seen) == number:
            whole(path, content[: len(content) // 2])
            _kill()
        return whole(path, content)

    checkpoint._write_bytes = write


def _kill_at_fit(when: str) -> None:
    whole = stage._finish

    def finish(*arguments):
        if when == "after":
            whole(*arguments)
        _kill()

    stage._finish = finish
