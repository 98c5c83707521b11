"""What a training leaves on disk, epoch by epoch, and how it continues from there.

Of several processes the first one writes; all of them read.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.optim import Optimizer

from owdfa.distributed import barrier, is_first_process
from owdfa.errors import UserError
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.runs.tracking import Log
from owdfa.weights import load_weights_strict

MAY_CHANGE = ("data.workers", "devices", "log_every", "onnx")  # they decide no result


def open_for_resume(
    output: Path, split: Split, settings: RunSettings | None, *, resume: bool
) -> Run | None:
    """The run in ``output`` that is to be continued; None when there is none.

    Raises:
        UserError: It is not to be continued, or not with these settings or this split.
    """
    if not Run.exists(output):
        return None
    run = Run.open(output)
    if not resume:
        raise UserError(
            f"{output}: holds a run already ({run.metadata.trained_epochs} of {run.settings.epochs}"
            " epochs); add --resume, or choose another -o"
        )
    if run.metadata.provenance.split_digest != split.digest():
        raise UserError(f"{output}: was trained on another split; give that one, or another -o")
    if settings is None:
        return run
    differences = settings.differences(run.settings, MAY_CHANGE)
    if differences:
        raise UserError(
            f"{output}: was started with other settings ({'; '.join(differences)});"
            " resume with those, or choose another -o"
        )
    return replace(run, settings=settings)


class CheckpointManager:
    """Writes log and checkpoints of a run while it is trained; a context manager.

    Args:
        run: The run, whose folder is written already.
        method, optimizer: Brought to where the run's last checkpoint is, if there is one.

    Attributes:
        epochs: How many are done.
    """

    def __init__(self, run: Run, method: Method, optimizer: Optimizer) -> None:
        self._run, self._method, self._optimizer = run, method, optimizer
        self._writes = is_first_process()
        self._open = ExitStack()
        self._log: Log | None = None
        self._best = -math.inf  # score so far
        self.epochs = 0

    def __enter__(self) -> Self:
        if self._writes:
            for folder in (self._run.last, self._run.checkpoint):
                checkpoint.settle(folder)
        barrier()
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
        run, weights, num_active = self._run, self._method.state_dict(), self._method.num_active
        note = checkpoint.Note(self.epochs, num_active, score)
        if score is not None and score > self._best:
            self._best = score
            checkpoint.write(run.checkpoint, note, weights)
        checkpoint.write(run.last, note, weights, self._state())
        run.mark(self.epochs, complete=False)

    def finish(self, fit: Callable[[], None] | None) -> Run:
        """Complete the run after its last epoch; return it.

        Args:
            fit: What fits the method to the whole training set; it is called once, with the weights
                of the checkpoint that predicts, which is then written again. None for nothing.
        """
        barrier()  # the first process may still be writing the last epoch
        run, is_new = self._run, checkpoint.current(self._run.checkpoint) is None
        note = checkpoint.Note(self.epochs, self._method.num_active)
        if not is_new:
            note = checkpoint.read_note(run.checkpoint)
        if is_new or (fit is not None and not note.fitted):
            if not is_new:
                weights = checkpoint.read_weights(run.checkpoint)
                load_weights_strict(self._method, weights, str(run.checkpoint))
            if fit is not None:
                fit()
            barrier()  # every process has read what is now replaced
            if self._writes:
                found = self._method.types_found()
                note = note._replace(
                    num_active=self._method.num_active,
                    fitted=True,
                    types_found=None if found is None else found.model_dump(mode="json"),
                )
                state = self._state() if run.checkpoint == run.last else None
                checkpoint.write(run.checkpoint, note, self._method.state_dict(), state)
        if self._writes:
            run.mark(self.epochs, complete=True)
        barrier()
        return Run.open(run.folder)

    def _state(self) -> dict[str, Any]:
        """What else a resumed run needs."""
        return {"optimizer": self._optimizer.state_dict(), "best": self._best}

    def _restore(self) -> None:
        last = self._run.last
        if checkpoint.current(last) is None:
            return
        load_weights_strict(self._method, checkpoint.read_weights(last), str(last))
        state = checkpoint.read_state(last)
        self._optimizer.load_state_dict(state["optimizer"])
        self.epochs, self._best = checkpoint.read_note(last).epochs, state["best"]
