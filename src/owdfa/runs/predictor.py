"""What predicts: a trained network and all that has to be known of it, whatever computes it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from owdfa.records.predictions import PredictionBasis

FEW = 8  # crops at a time on a CPU: the maps between layers stay in a core's cache


class Network(NamedTuple):
    """A network that was started.

    Attributes:
        answer: Crops (B, S, S, 3) uint8 -> probabilities (B, C) and embedding (B, D), both
            float32; may be called from several threads.
        batch_size: Crops to give it at a time.
    """

    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    batch_size: int


@dataclass(frozen=True)
class Predictor:
    """A network that is ready to predict.

    Attributes:
        place: The run folder, or the file that was exported from one.
        basis: What predictions will rest on; ``images`` is still empty.
        faces: Face detector that images go through.
        store_size: Side S of the crops that the network is given.
        split: Folder of the split that it was trained on; None where that is not known.
        store: Folder of the crops of that split; None for the one that the split names.
        network: Starts the network, which answers until the block ends.
    """

    place: Path
    basis: PredictionBasis
    faces: str
    store_size: int
    split: Path | None
    store: Path | None
    network: Callable[[], AbstractContextManager[Network]]
