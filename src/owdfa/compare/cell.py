"""One cell of a comparison: train, predict, score, and what it cost. In a process of its own."""

import resource
import sys
import time
from pathlib import Path

from owdfa.compare.grid import Cell
from owdfa.errors import UserError
from owdfa.files import read_json, write_json, write_text
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.stages.predict import predict
from owdfa.stages.score import score
from owdfa.stages.train import train
from owdfa.training.checkpoints import MAY_CHANGE
from owdfa.training.launch import end_with_launcher

CELL, SETTINGS, COST, ATTEMPTS = "cell.json", "cell.toml", "cost.json", "attempts.txt"
PREDICTIONS, SCORES = "predictions/test.parquet", "scores.json"


def write_cell(root: Path, cell: Cell, settings: RunSettings) -> None:
    """Write what a cell is into its folder, for whoever runs it."""
    folder = root / cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CELL, cell.model_dump())
    # Whatever was asked for before: a run of it would have been refused by is_done.
    write_text(folder / SETTINGS, settings.to_toml(), lambda _: True)


def is_done(root: Path, cell: Cell, settings: RunSettings) -> bool:
    """Whether a cell is finished, with these settings.

    Raises:
        UserError: It was begun with others.
    """
    folder = root / cell.folder
    if not Run.exists(folder):
        return False
    differences = settings.differences(Run.open(folder).settings, MAY_CHANGE)
    if differences:
        raise UserError(
            f"{folder}: was begun with other settings ({'; '.join(differences)}); choose another"
            " -o, or remove that folder"
        )
    return (folder / COST).exists()


def run_cell(root: Path, folder: str) -> None:
    """Train, or go on training; predict and score the test images; write what it cost.

    Args:
        root: Folder of the comparison.
        folder: Of the cell, from there; it holds ``cell.json``.

    Raises:
        UserError: As each stage.
    """
    place = root / folder
    cell = Cell.model_validate(read_json(place / CELL, what="a cell of a comparison"))
    attempts = place / ATTEMPTS
    with attempts.open("a", encoding="utf-8") as stream:
        stream.write("begun\n")
    num_attempts = attempts.read_text(encoding="utf-8").count("\n")
    settings = load_settings("none", place / SETTINGS)
    split, store = root / cell.split, root / cell.store
    began = time.monotonic()
    train(split, place, settings=settings, resume=True, store=store)
    trained = time.monotonic()
    predict(place, "split:test", place / PREDICTIONS, split=split, store=store)
    score(place / PREDICTIONS, split, place / SCORES)
    cost = {
        "train_seconds": round(trained - began, 2),
        "test_seconds": round(time.monotonic() - trained, 2),
        "peak_memory_gib": round(_peak_memory(), 3),
        "peak_gpu_memory_gib": round(_peak_gpu_memory(), 3),
        "attempts": num_attempts,
    }
    write_json(place / COST, cost)


def run_as_process(root: Path, folder: str) -> None:
    """``run_cell`` in a process that ends with the one which started it."""
    end_with_launcher()
    run_cell(root, folder)


def _peak_memory() -> float:
    """GiB that this process, or one of its loaders, held at most."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(each).ru_maxrss for each in who) * unit / 2**30


def _peak_gpu_memory() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
