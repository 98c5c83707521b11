"""Gather what the page rests on from the files of a run, and make those that are missing."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from owdfa.errors import UserError
from owdfa.files import read_json
from owdfa.records.predictions import Predictions
from owdfa.records.scores import Scores
from owdfa.records.split import Split

_RUN = "a run (owdfa train makes one)"


@dataclass(frozen=True)
class Evidence:
    """What a run left behind.

    Attributes:
        name: Name of the run's folder.
        run: ``run.json``.
        settings: ``settings.toml`` as it is; empty when the run was imported without one.
        epochs: The log's record of each epoch, in order.
        split: What each image is for, and the truth.
        scores: Scores on the test images; None when the split has none.
        shown: Predictions of the images that the page shows.
        role: Their role: "unlabelled" where no test image is of a novel class, else "test".
    """

    name: str
    run: dict[str, Any]
    settings: str
    epochs: list[dict[str, Any]]
    split: Split
    scores: Scores | None
    shown: Predictions
    role: str

    @property
    def names(self) -> list[str]:
        """Names of the run's types by index, the known ones first."""
        return self.shown.basis.classes

    @property
    def num_known(self) -> int:
        """Number of known types: the first of ``names``."""
        return self.shown.basis.num_known

    @property
    def selection(self) -> str:
        """Rule that chose the checkpoint: "last", "validation" or "oracle"."""
        return self.shown.basis.selection

    @property
    def judged(self) -> bool:
        """Whether the truth of the images shown is known."""
        return self.role == "test"

    @property
    def num_novel_images(self) -> int:
        """Number of test images that are of a novel class."""
        return self.scores.num_images["novel"] if self.scores else 0

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the images shown."""
        ids: list[str] = self.shown.table["id"].to_pylist()
        return ids

    @cached_property
    def index(self) -> np.ndarray:
        """(N,) int: predicted type of each image shown."""
        return np.asarray(self.shown.table["index"].to_numpy())

    @cached_property
    def confidence(self) -> np.ndarray:
        """(N,) float: confidence in that type."""
        return np.asarray(self.shown.table["confidence"].to_numpy(), dtype=np.float64)

    @cached_property
    def directions(self) -> np.ndarray | None:
        """(N, D) float: embeddings at length 1; None when the predictions hold none."""
        column = self.shown.table["embedding"]
        if column.null_count or not len(column):
            return None
        flat = column.combine_chunks().flatten().to_numpy()
        rows = flat.reshape(len(column), -1).astype(np.float32)
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))

    @cached_property
    def truth(self) -> list[str | None]:
        """True class of each image shown, None where nobody labelled it."""
        rows = self.split.table
        classes = dict(zip(rows["id"].to_pylist(), rows["class"].to_pylist(), strict=True))
        return [classes.get(identity) for identity in self.ids]


def gather(run: Path) -> Evidence:
    """Read what the page rests on; predict and score first where that has not been done.

    Raises:
        UserError: The run is damaged or unfinished, or its files do not belong together.
    """
    note = _read_run(run)
    split = Split.read(Path(note["split"]))
    _agree(run / "run.json", note["split_digest"], split.digest(), "split")
    scores, shown, role = None, None, "test"
    if len(split.with_role("test")):
        shown = _predictions(run, "test", note["split_digest"])
        scores = _scores(run, shown)
    lacks_novel = scores is None or not scores.num_images["novel"]
    if shown is None or (lacks_novel and len(split.with_role("unlabelled"))):
        role = "unlabelled"
        shown = _predictions(run, role, note["split_digest"])
    settings = run / "settings.toml"
    return Evidence(
        name=run.resolve().name,
        run=note,
        settings=settings.read_text(encoding="utf-8") if settings.exists() else "",
        epochs=read_epochs(run / "log.jsonl"),
        split=split,
        scores=scores,
        shown=shown,
        role=role,
    )


def gather_baseline(run: Path, evidence: Evidence) -> Scores | None:
    """Read the scores of another run on the same test images; None when they have no scores.

    Raises:
        UserError: It is no run, or was trained on another split.
    """
    note = _read_run(run)
    _agree(run / "run.json", note["split_digest"], evidence.run["split_digest"], "split")
    if evidence.scores is None:
        return None
    return _scores(run, _predictions(run, "test", note["split_digest"]))


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Read the epochs' records of a log; none when there is no log, as in an imported run.

    The last line may be torn by a kill, and an epoch done again after a resume stands twice:
    the later one counts.
    """
    if not path.exists():
        return []
    epochs: dict[int, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f"{path}: line {number} is not JSON; restore the file") from None
        if record.get("kind") == "epoch":
            epochs[int(record["epoch"])] = record
    return [epochs[epoch] for epoch in sorted(epochs)]


def _read_run(run: Path) -> dict[str, Any]:
    path = run / "run.json"
    note: dict[str, Any] = read_json(path, what=_RUN)
    if not isinstance(note, dict) or note.get("schema") != "owdfa/run/1":
        raise UserError(f"{path}: is not {_RUN}")
    if not note.get("split"):
        raise UserError(f"{path}: the run has no split, so there is nothing to report on")
    return note


def _predictions(run: Path, role: str, split_digest: str) -> Predictions:
    path = run / "predictions" / f"{role}.parquet"
    if not path.exists():
        from owdfa.stages.predict import predict

        predict(run, f"split:{role}", path)
    predictions = Predictions.read(path)
    basis = predictions.basis
    _agree(path, basis.split_digest, split_digest, "split")
    checkpoint = run / "checkpoints" / basis.selection / "checkpoint.json"
    if checkpoint.exists():  # a run that was trained on since has other weights now
        weights = read_json(checkpoint, what="a checkpoint")["weights"]
        _agree(path, basis.weights_digest, weights, "set of weights")
    return predictions


def _scores(run: Path, predictions: Predictions) -> Scores:
    path = run / "scores.json"
    if not path.exists():
        from owdfa.stages.score import score

        score(run / "predictions" / "test.parquet", Path(_read_run(run)["split"]), path)
    scores = Scores.read(path)
    weights = predictions.basis.weights_digest
    _agree(path, scores.basis["weights_digest"], weights, "set of weights")
    _agree(path, scores.basis.get("precision"), predictions.basis.precision, "precision")
    return scores


def _agree(path: Path, found: Any, expected: Any, what: str) -> None:
    """Refuse to mix numbers of two splits, sets of weights or precisions on one page."""
    if found != expected:
        raise UserError(f"{path}: belongs to another {what}; delete it and run the command again")
