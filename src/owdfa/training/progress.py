"""Where a training stands, for a person who waits."""

import math
from collections.abc import Callable
from typing import NamedTuple

from owdfa.records.training import Progress
from owdfa.training.meter import Reading


class TrainingState(NamedTuple):
    """Where a training stands, for a progress bar."""

    epoch: int  # from 0
    epochs: int
    step: int  # how many of the epoch's are done
    steps: int
    loss: float  # mean of the last few steps
    labelled_accuracy: float  # of the same; nan when none of their images had a label
    num_live: int
    warm_start: bool = False  # the supervised training that comes before

    @classmethod
    def of(
        cls, progress: Progress, step: int, num_steps: int, reading: Reading, num_live: int
    ) -> "TrainingState":
        """Put it together from what the loop knows."""
        accuracy = math.nan if reading.labelled_accuracy is None else reading.labelled_accuracy
        return cls(*progress, step, num_steps, reading.terms["loss"], accuracy, num_live)

    @property
    def done(self) -> int:
        """Steps done since the training began."""
        return self.epoch * self.steps + self.step

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps

    def summary(self) -> str:
        """What a person wants to see while waiting."""
        labelled = "-" if math.isnan(self.labelled_accuracy) else f"{self.labelled_accuracy:.0%}"
        stage = "warm start, " if self.warm_start else ""
        return (
            f"{stage}epoch {self.epoch + 1}/{self.epochs}  loss {self.loss:.3f}"
            f"  labelled {labelled}  live {self.num_live}"
        )


OnProgress = Callable[[TrainingState], None]


def look_away(state: TrainingState) -> None:
    """Show nobody the progress."""
