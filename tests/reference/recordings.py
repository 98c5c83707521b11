"""Numbers recorded from the authors' release, and where they lie."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

OURS = Path(__file__).parent / "golden"
FOLDER = Path(os.environ.get("OWDFA_GOLDEN") or OURS)


class Recording(NamedTuple):
    note: dict[str, Any]  # the case's entry in the json file
    arrays: dict[str, np.ndarray]  # its arrays, without the prefix of the case

    def __repr__(self):
        return f"case {self.note['case']}"


def recorded(file: str) -> Path:
    """A file of the recordings; ours where another folder is named that has none of the kind."""
    return FOLDER / file if (FOLDER / file).exists() else OURS / file


def note(name: str) -> Any:
    """The json file of a recording."""
    return json.loads(recorded(f"{name}.json").read_text(encoding="utf-8"))


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """The npz file of a recording."""
    with np.load(recorded(f"{name}.npz"), allow_pickle=False) as file:
        return dict(file)


def cases(name: str) -> list[Recording]:
    """The cases of a recording, to parametrise a test with."""
    found = []
    for entry in note(name):
        prefix = f"c{entry['case']}_"
        own = {key[len(prefix) :]: a for key, a in arrays(name).items() if key.startswith(prefix)}
        found.append(Recording(entry, own))
    return found


def tensors(recording: Recording) -> dict[str, torch.Tensor]:
    """The arrays of a case as tensors."""
    return {name: torch.from_numpy(array) for name, array in recording.arrays.items()}
