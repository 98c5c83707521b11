"""The log of a run: lines of JSON as the source of truth, and TensorBoard beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from owdfa.files import write_text


class Log:
    """Appends to log.jsonl and tensorboard/ of a run folder; a context manager.

    Args:
        folder: The run folder.
        epochs: How many epochs the checkpoint has seen; lines of later ones are dropped, since
            a resumed run writes them anew.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self._path = folder / "log.jsonl"
        if self._path.exists():
            write_text(self._path, "".join(_until(self._path, epochs)), _is_log)
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._board.close()

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append a line; numbers of kind ``epoch`` go to TensorBoard too.

        Args:
            kind: ``"step"`` or ``"epoch"``.
            values: Has an ``epoch``, counted from 0.
        """
        print(json.dumps({"kind": kind, **values}), file=self._stream, flush=True)
        if kind == "epoch":
            for name, value in values.items():
                if isinstance(value, int | float) and name != "epoch":
                    self._board.add_scalar(name, value, values["epoch"])
            self._board.flush()


def _until(path: Path, epochs: int) -> list[str]:
    """The lines of the first ``epochs`` epochs; one that a kill cut short is none."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            epoch = json.loads(line)["epoch"]
        except (ValueError, KeyError):
            continue
        if epoch < epochs and line.endswith("\n"):
            kept.append(line)
    return kept


def _is_log(path: Path) -> bool:
    """Whether the first line is one of a log, cut short or not."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().startswith('{"kind": "')
