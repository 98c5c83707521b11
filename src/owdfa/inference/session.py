"""What every engine offers: crops to probabilities and embeddings."""

from typing import NamedTuple, Protocol

import numpy as np

from owdfa.config import Settings
from owdfa.metrics.likelihood_ratios import Evidence, evidence
from owdfa.records.provenance import Device, Precision

FEW = 8  # crops at a time on a CPU: the maps between layers stay in a core's cache


class ComputeOptions(Settings):
    """What to compute on and in; None for what the run was told."""

    device: Device | None = None
    """cpu, cuda, or auto for a GPU where there is one."""
    precision: Precision | None = None
    """bf16-mixed takes convolutions and products in bfloat16, which has two to three digits."""


DEFAULTS = ComputeOptions()


class BatchOutput(NamedTuple):
    """What a network says of a batch."""

    probabilities: np.ndarray  # (B, C) float32
    embedding: np.ndarray  # (B, D) float32
    log_ratios: np.ndarray  # (B, C) float32, see ``Method.log_ratios``; (B, 0) without

    def evidence(self, num_known: int) -> Evidence | None:
        """What the ratios say of each image; None without."""
        if not self.log_ratios.size:
            return None
        return evidence(self.log_ratios, self.probabilities.argmax(axis=1), num_known)


def no_ratios(rows: np.ndarray) -> np.ndarray:
    """(B, 0) float32, of a method that gives none."""
    return np.zeros((len(rows), 0), np.float32)


class Session(Protocol):
    """A network that was started. It changes nothing of the process around it."""

    engine: str
    """The library that computes, and its version."""
    batch_size: int
    """Crops to give it at a time."""

    def predict_batch(self, crops: np.ndarray) -> BatchOutput:
        """Predict crops (B, S, S, 3) uint8; may be called from several threads."""
        ...
