"""Gather what the page rests on from the files of a run, and make those that are missing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.records.estimate import RunEstimate
from owdfa.records.predictions import Predictions
from owdfa.records.scores import Scores
from owdfa.records.split import Split
from owdfa.records.types_found import TypesFound
from owdfa.runs import checkpoint
from owdfa.runs.data import find_split, find_store, open_store
from owdfa.runs.metadata import RunMetadata
from owdfa.stages.report.log import RunLog, read_log


class _Source(NamedTuple):
    """A run, and where its images are."""

    run: Path
    metadata: RunMetadata
    split: Path
    store: Path | None  # as the user named it


@dataclass(frozen=True)
class Evidence:
    """What a run left behind.

    Attributes:
        name: Name of the run's folder.
        run: ``run.json``.
        estimate: The estimate of the number of classes; None where none was made.
        store: Crops of the images.
        settings: ``settings.toml`` as it is; empty when the run was imported without one.
        log: What the run logged.
        split: What each image is for, and the truth.
        scores: Scores on the test images; None when the split has none.
        shown: Predictions of the images that the page shows.
        role: Their role: "unlabelled" where no test image is of a novel class, else "test".
    """

    name: str
    run: RunMetadata
    estimate: RunEstimate | None
    store: Store
    settings: str
    log: RunLog
    split: Split
    scores: Scores | None
    shown: Predictions
    role: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the run's types by index, the known ones first."""
        return self.shown.metadata.classes

    @property
    def num_known(self) -> int:
        """Number of known types: the first of ``names``."""
        return self.shown.metadata.num_known

    @property
    def oracle(self) -> str:
        """What makes the run an oracle, in words; empty where nothing does."""
        return self.shown.metadata.provenance.oracle

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

    @property
    def types_found(self) -> TypesFound | None:
        """What the method found of the training images together; None where it says nothing."""
        return self.shown.metadata.types_found

    def log_ratio(self, of: str = "") -> np.ndarray | None:
        """(N,) float: log10 likelihood ratio of the predicted type of each image shown, or another.

        Args:
            of: ``"known_"`` for the known type with the greatest.
        """
        column = self.shown.table[f"{of}log_ratio"]
        return None if column.null_count else np.asarray(column, dtype=np.float64)

    @cached_property
    def known_index(self) -> np.ndarray:
        """(N,) int: the known type with the greatest likelihood ratio; where there are ratios."""
        return np.asarray(self.shown.table["known_index"].to_numpy())

    @cached_property
    def truth(self) -> list[str | None]:
        """True class of each image shown, None where nobody labelled it."""
        rows = self.split.table
        classes = dict(zip(rows["id"].to_pylist(), rows["class"].to_pylist(), strict=True))
        return [classes.get(identity) for identity in self.ids]


def gather(run: Path, split: Path | None = None, store: Path | None = None) -> Evidence:
    """Read what the page rests on; predict and score first where that has not been done.

    Args:
        run: The run folder.
        split: Folder of its split, where that has moved.
        store: Folder of its crops, where they have moved.

    Raises:
        UserError: The run is damaged or unfinished, or its files do not belong together.
    """
    metadata = RunMetadata.read(run)
    source = _Source(run, metadata, find_split(run, metadata, split), store)
    roles = Split.read(source.split)
    _agree(run / "run.json", metadata.provenance.split_digest, roles.digest(), "split")
    crops = open_store(source.split, roles, find_store(run, metadata, source.split, store))
    scores, shown, role = None, None, "test"
    if len(roles.with_role("test")):
        shown = _predictions(source, "test")
        scores = _scores(source, shown)
    lacks_novel = scores is None or not scores.num_images["novel"]
    if shown is None or (lacks_novel and len(roles.with_role("unlabelled"))):
        role = "unlabelled"
        shown = _predictions(source, role)
    settings = run / "settings.toml"
    return Evidence(
        name=run.resolve().name,
        run=metadata,
        estimate=RunEstimate.find(run),
        store=crops,
        settings=settings.read_text(encoding="utf-8") if settings.exists() else "",
        log=read_log(run / "log.jsonl"),
        split=roles,
        scores=scores,
        shown=shown,
        role=role,
    )


def other_scores(run: Path, evidence: Evidence, split: Path | None = None) -> Scores | None:
    """Read the scores of another run on the same test images; None when they have no scores.

    Raises:
        UserError: It is no run, or was trained on another split.
    """
    metadata = RunMetadata.read(run)
    digest = metadata.provenance.split_digest
    _agree(run / "run.json", digest, evidence.run.provenance.split_digest, "split")
    if evidence.scores is None:
        return None
    source = _Source(run, metadata, find_split(run, metadata, split), evidence.store.folder)
    return _scores(source, _predictions(source, "test"))


def _predictions(source: _Source, role: str) -> Predictions:
    path = source.run / "predictions" / f"{role}.parquet"
    if not path.exists():
        from owdfa.stages.predict import predict

        predict(source.run, f"split:{role}", path, split=source.split, store=source.store)
    predictions = Predictions.read(path)
    found = predictions.metadata.provenance
    _agree(path, found.split_digest, source.metadata.provenance.split_digest, "split")
    selected = checkpoint.selected(source.run, source.metadata)
    if checkpoint.current(selected):  # a run that was trained on since has other weights now
        weights = checkpoint.read_note(selected).weights
        _agree(path, found.weights_digest, weights, "set of weights")
    return predictions


def _scores(source: _Source, predictions: Predictions) -> Scores:
    path = source.run / "scores.json"
    if not path.exists():
        from owdfa.stages.score import score

        score(source.run / "predictions" / "test.parquet", source.split, path)
    scores = Scores.read(path)
    found, expected = scores.provenance, predictions.metadata.provenance
    _agree(path, found.weights_digest, expected.weights_digest, "set of weights")
    _agree(path, found.precision, expected.precision, "precision")
    return scores


def _agree(path: Path, found: Any, expected: Any, what: str) -> None:
    """Refuse to mix numbers of two splits, sets of weights or precisions on one page."""
    if found != expected:
        raise UserError(f"{path}: belongs to another {what}; delete it and run the command again")
