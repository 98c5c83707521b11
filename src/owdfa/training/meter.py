"""Means of the loss terms, without making the device wait at every step."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from owdfa.errors import UserError
from owdfa.records.training import Batch, Losses, Progress


class Reading(NamedTuple):
    """Means over a number of steps."""

    terms: dict[str, float]  # "loss", then every term under its name
    labelled_accuracy: float | None  # None when no image had a label

    def flat(self) -> dict[str, float | None]:
        """As a line of the log."""
        return {**self.terms, "labelled_accuracy": self.labelled_accuracy}


class Meter:
    """Collects what each step says on the device; ``read`` fetches it, a few steps at a time.

    Memory: a few numbers for each step since the last ``read``.

    Args:
        epoch: Counted from 0.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.started = time.perf_counter()
        self.num_images = 0
        self._names: list[str] = []
        self._rows: list[Tensor] = []  # a step each: loss, terms, right, labelled
        self._sums: list[float] = []
        self._steps = 0

    def add(self, losses: Losses, batch: Batch) -> None:
        """Note a step."""
        self._names = ["loss", *losses.terms]
        right = (losses.logits.argmax(dim=1) == batch.labels).sum()
        values = (losses.total, *losses.terms.values(), right, batch.labelled.sum())
        self._rows.append(torch.stack([value.detach().float() for value in values]))
        self.num_images += len(batch.labels)

    def read(self) -> Reading:
        """Means over the steps since the last ``read``.

        Raises:
            UserError: A term was not finite; the step and the terms are named.
        """
        values = torch.stack(self._rows).tolist()
        self._rows.clear()
        for offset, row in enumerate(values):
            self._check(row, self._steps + offset)
        self._steps += len(values)
        sums = [sum(column) for column in zip(*values, strict=True)]
        before = self._sums or [0.0] * len(sums)
        self._sums = [old + new for old, new in zip(before, sums, strict=True)]
        return self._reading(sums, len(values))

    def total(self) -> Reading:
        """Means over all steps that were read."""
        return self._reading(self._sums, self._steps)

    def line(self) -> dict[str, float | None]:
        """The epoch so far, as a line of the log."""
        speed = self.num_images / (time.perf_counter() - self.started)
        return {
            "epoch": self.epoch,
            **self.total().flat(),
            "images_per_second": round(speed, 1),
        }

    def _reading(self, sums: list[float], steps: int) -> Reading:
        *terms, right, labelled = sums
        means = {name: value / steps for name, value in zip(self._names, terms, strict=True)}
        return Reading(means, right / labelled if labelled else None)

    def _check(self, row: list[float], step: int) -> None:
        bad = [
            f"{name} {value}"
            for name, value in zip(self._names, row, strict=False)
            if not abs(value) < float("inf")
        ]
        if bad:
            raise UserError(
                f"epoch {self.epoch + 1}, step {step + 1}: {', '.join(bad)}; log.jsonl shows how it"
                " came to that; train again with a lower optimiser.lr"
            )


def summary(progress: Progress, reading: Reading, num_active: int) -> str:
    """What a person wants to see while waiting, on one line."""
    accuracy = reading.labelled_accuracy
    labelled = "-" if accuracy is None else f"{accuracy:.0%}"
    return (
        f"epoch {progress.epoch + 1}/{progress.epochs}  loss {reading.terms['loss']:.3f}"
        f"  labelled {labelled}  classes {num_active}"
    )
