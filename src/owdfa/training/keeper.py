"""What a training leaves on disk, epoch by epoch, and how it goes on from there.

Of several processes the first one writes; all of them read.
"""

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightning_fabric import Fabric
from torch.optim import Optimizer

from owdfa.distributed import own_share
from owdfa.errors import UserError
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.runs.tracking import Log
from owdfa.weights import fit

_FREE = ("data.workers ", "devices ")  # settings that a resumed run may change


def begun(output: Path, split: Split, settings: RunSettings | None, *, resume: bool) -> Run | None:
    """The run in ``output`` that is to be gone on with; None when there is none.

    Raises:
        UserError: It is not to be gone on with, or not with these settings or this split.
    """
    if not Run.exists(output):
        return None
    run = Run.open(output)
    if not resume:
        raise UserError(
            f"{output}: holds a run already ({run.facts.trained_epochs} of {run.settings.epochs}"
            " epochs); add --resume, or choose another -o"
        )
    if run.facts.split_digest != split.digest():
        raise UserError(f"{output}: was trained on another split; give that one, or another -o")
    if settings is None:
        return run
    differences = [
        text for text in settings.differences(run.settings) if not text.startswith(_FREE)
    ]
    if differences:
        raise UserError(
            f"{output}: began with other settings ({'; '.join(differences)});"
            " resume with those, or choose another -o"
        )
    return replace(run, settings=settings)


class Keeper:
    """Keeps log and checkpoints of a run while it is trained; a context manager.

    Args:
        run: The run, whose folder is written already.
        method, optimizer: Brought to where the run's last checkpoint stands, if there is one.
        fabric: Lets the processes wait for each other.

    Attributes:
        epochs: How many are done.
    """

    def __init__(self, run: Run, method: Method, optimizer: Optimizer, fabric: Fabric) -> None:
        self._run, self._method, self._optimizer, self._fabric = run, method, optimizer, fabric
        self._writes = own_share().rank == 0
        self._open = ExitStack()
        self._log: Log | None = None
        self._best = -math.inf  # score so far
        self.epochs = 0

    def __enter__(self) -> Self:
        if self._writes:
            for folder in (self._run.last, self._run.checkpoint):
                checkpoint.settle(folder)
        self._fabric.barrier()
        self._restore()
        if self._writes:
            self._log = self._open.enter_context(Log(self._run.folder, self.epochs))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def log(self, kind: str, values: dict[str, Any]) -> None:
        """Append a line of ``kind`` step or epoch to the log."""
        if self._log is not None:
            self._log.write(kind, values)

    def end_epoch(self, score: float | None) -> None:
        """Write the checkpoints of an epoch that is done.

        ``last`` comes after the selected one: killed between the two, the epoch is trained again,
        and selects again.

        Args:
            score: What the selection rule measured; None where it measures nothing.
        """
        self.epochs += 1
        if not self._writes:
            return
        run, weights, num_live = self._run, self._method.state_dict(), self._method.num_live
        note = checkpoint.Note(self.epochs, num_live, score)
        if score is not None and score > self._best:
            self._best = score
            checkpoint.write(run.checkpoint, note, weights)
        state = {"optimizer": self._optimizer.state_dict(), "best": self._best}
        checkpoint.write(run.last, note, weights, state)
        _mark(run, self.epochs)

    def finish(self) -> Run:
        """Mark the run as complete; return it."""
        if self._writes:
            _mark(self._run, self.epochs)
        self._fabric.barrier()
        return Run.open(self._run.folder)

    def _restore(self) -> None:
        last = self._run.last
        if checkpoint.current(last) is None:
            return
        fit(self._method, checkpoint.read_weights(last), str(last))
        state = checkpoint.read_state(last)
        self._optimizer.load_state_dict(state["optimizer"])
        self.epochs, self._best = checkpoint.read_note(last).epochs, state["best"]


def _mark(run: Run, epochs: int) -> None:
    """Note in run.json that ``epochs`` are done, and which checkpoint predicts."""
    selected = checkpoint.read_note(run.checkpoint)
    run.update(
        trained_epochs=epochs,
        selected_epochs=selected.epochs,
        num_live=selected.num_live,
        complete=epochs == run.settings.epochs,
    )
