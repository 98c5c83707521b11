"""Score: join predictions with the truth by id, and count under both conventions."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.files import check_replaceable
from owdfa.metrics.calibration import calibration
from owdfa.metrics.clustering import contingency, matched_images
from owdfa.metrics.conventions import Convention, Conventions, score_conventions
from owdfa.metrics.detection import auroc
from owdfa.metrics.intervals import LEVEL, MEASURES, GroupedCells, bootstrap, interval
from owdfa.metrics.likelihood_ratios import STRONG, cllr
from owdfa.records.file_properties import FileProperties
from owdfa.records.predictions import PredictionMetadata, Predictions
from owdfa.records.rows import codes, indices_of
from owdfa.records.scores import (
    Agreement,
    Bin,
    Calibration,
    ClassScore,
    Confusion,
    Intervals,
    NumImages,
    NumNovel,
    RatioScore,
    ScoredSplit,
    Scores,
    is_scores,
)
from owdfa.records.split import Split

_RATIOS = ("known_log_ratio", "known_index")
_COLUMNS = ("id", "index", "confidence", "known_probability", *_RATIOS)
_TRUTH = ("id", "role", "class", "group")


class Joined(NamedTuple):
    """Predictions beside the truth; the known classes come first in both."""

    true: np.ndarray  # (images,) int64, place among the split's known and novel classes
    predicted: np.ndarray  # (images,) int64, place among the run's classes
    confidence: np.ndarray  # (images,) float32
    known_probability: np.ndarray  # (images,) float32, the largest of a known class
    known_log_ratio: np.ndarray  # (images,) float64, log10, of the known type with the greatest
    known_index: np.ndarray  # (images,) int64, which that is; both (0,) where there are no ratios
    groups: np.ndarray  # (images,) int64
    without_truth: int
    not_predicted: int


def score(predictions: Path, split: Path, output: Path | None = None) -> Scores:
    """Score predictions by the paper's convention and by gcd-v2, side by side.

    Predictions on ``split:<role>`` are compared with the images of that role, those on a folder
    with the test images. What has no truth is left out and counted.

    Args:
        predictions: What ``predict`` wrote.
        split: Folder of the split that the run was trained on.
        output: JSON file to write; older scores there are replaced, nothing else is.

    Returns:
        The scores.

    Raises:
        UserError: The run was trained on another split or with other known classes, no prediction
            is of an image with a truth, or a file is damaged.

    Example:
        >>> scores = score(Path("predictions.parquet"), Path("split"))  # doctest: +SKIP
        >>> scores.conventions["gcd-v2"]["novel"]["acc"]  # doctest: +SKIP
        0.713
    """
    if output is not None:
        check_replaceable(output, is_scores)
    joined, metadata, truth = _read(predictions, split)
    scores = scores_of(joined, metadata, truth)
    if output is not None:
        scores.write(output)
    return scores


def count_groups(predictions: Path, split: Path) -> tuple[GroupedCells, int]:
    """Count scored images by group, class and prediction, for draws of groups; and known classes.

    Raises:
        UserError: As ``score``.
    """
    joined, metadata, truth = _read(predictions, split)
    return _grouped(joined, metadata, truth), len(truth.known)


def _read(predictions: Path, split: Path) -> tuple[Joined, PredictionMetadata, Split]:
    made = Predictions.read(predictions, _COLUMNS)
    truth = Split.read(split, _TRUTH)
    _check_split(predictions, made.metadata, split, truth)
    return _join(predictions, made, truth), made.metadata, truth


def _check_split(
    predictions: Path, metadata: PredictionMetadata, split: Path, truth: Split
) -> None:
    """Raise when the predictions, or the run that made them, are of another split."""
    digest = truth.digest()
    for found in (metadata.provenance.split_digest, metadata.images_digest):
        if found not in (None, digest):
            raise UserError(
                f"{predictions}: its run was trained on split {str(found)[:12]}, but "
                f"{split} is {digest[:12]}; give --split the split of the run"
            )
    known = metadata.classes[: metadata.num_known]
    if (
        metadata.provenance.continues is not None
    ):  # it may know others, which come after the split's
        known = known[: len(truth.known)]
    if known != truth.known:
        raise UserError(
            f"{predictions}: its run knows other classes than {split}, or in another order; "
            "split by the protocol of the run"
        )


def _join(predictions: Path, made: Predictions, truth: Split) -> Joined:
    """Find the truth of each prediction."""
    _check_values(predictions, made)
    kind, _, role = made.metadata.images.partition(":")
    role = role if kind == "split" else "test"
    rows = truth.with_role(role)
    names = pa.array(truth.known + truth.novel, pa.string())
    classes = _integers(pc.fill_null(pc.index_in(rows["class"], names), -1))
    place = indices_of(made.table["id"], rows["id"])
    seen = np.bincount(place[place >= 0], minlength=len(rows))
    if (seen > 1).any():
        twice = str(rows["id"][int(np.argmax(seen))])
        raise UserError(f"{predictions}: image {twice!r} is predicted twice; predict again")
    true = np.append(classes, -1)[place]  # place -1 takes the -1 at the end
    kept = true >= 0
    if not kept.any():
        raise UserError(
            f"{predictions}: none of its {len(place)} images is a {role} image of the split that "
            "has a class; predict split:test"
        )
    return Joined(
        true[kept],
        _integers(made.table["index"])[kept],
        np.asarray(made.table["confidence"])[kept],
        np.asarray(made.table["known_probability"])[kept],
        *_ratios(made.table, kept),
        codes(pc.coalesce(rows["group"], rows["id"]))[place[kept]],
        without_truth=int((~kept).sum()),
        not_predicted=int(((seen == 0) & (classes >= 0)).sum()),
    )


def _ratios(table: pa.Table, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if table["known_index"].null_count:
        return np.empty(0), np.empty(0, np.int64)
    ratios = np.asarray(table["known_log_ratio"], dtype=np.float64)
    return ratios[kept], _integers(table["known_index"])[kept]


def _check_values(predictions: Path, made: Predictions) -> None:
    """Raise when an index or a confidence is impossible."""
    extremes = pc.min_max(made.table["index"]).as_py()
    if len(made.table) and not 0 <= extremes["min"] <= extremes["max"] < len(made.metadata.classes):
        raise UserError(f"{predictions}: predicts a class that its run has not; predict again")
    confidence = np.asarray(made.table["confidence"])
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise UserError(f"{predictions}: a confidence is not between 0 and 1; predict again")


def scores_of(joined: Joined, metadata: PredictionMetadata, truth: Split) -> Scores:
    """Count under both conventions."""
    num_known = len(truth.known)
    names = truth.known + truth.novel
    table = contingency(joined.true, joined.predicted, (len(names), len(metadata.classes)))
    found = score_conventions(table, num_known)
    right = np.concatenate([np.arange(num_known), found.gcd_match[num_known:]])
    images = table.sum(axis=1)
    num_images = NumImages(
        all=int(images.sum()),
        known=int(images[:num_known].sum()),
        novel=int(images[num_known:].sum()),
        without_truth=joined.without_truth,
        not_predicted=joined.not_predicted,
    )
    classes = _per_class(table, names, metadata, found)
    swapped = table[num_known:, :num_known].sum(), table[:num_known, num_known:].sum()
    return Scores(
        run=metadata.run,
        images=metadata.images,
        engine=metadata.engine,
        split=ScoredSplit(
            digest=truth.digest(),
            rule=truth.basis.rule,
            protocol=truth.basis.protocol,
            seed=truth.basis.seed,
        ),
        provenance=metadata.provenance,
        num_images=num_images,
        conventions={"paper": _plain(found.paper), "gcd-v2": _plain(found.gcd)},
        intervals=_intervals(_grouped(joined, metadata, truth), num_known),
        macro_acc=float(np.mean([each["acc_gcd_v2"] for each in classes])),
        novel_auroc=auroc(-joined.known_probability, joined.true >= num_known),
        num_classes={
            "true": int((images > 0).sum()),
            "in_use": int((table.sum(axis=0) > 0).sum()),
            "active": len(metadata.classes),
        },
        num_novel=_num_novel(table, found.gcd_match, num_known),
        novel_given_to_known=float(swapped[0] / max(num_images["novel"], 1)),
        known_given_to_novel=float(swapped[1] / max(num_images["known"], 1)),
        calibration=_calibration(joined.confidence, joined.predicted == right[joined.true]),
        per_class=classes,
        confusion=_confusion(table, names, metadata.classes),
        file_properties=_file_properties(metadata, truth),
        ratios=_ratio_score(joined, num_known) if len(joined.known_index) else None,
    )


def _file_properties(metadata: PredictionMetadata, truth: Split) -> FileProperties | None:
    """What the split notes of its test images; predictions on a folder are judged by those."""
    kind, _, role = metadata.images.partition(":")
    if kind == "split" and role != "test":
        return FileProperties((), {}, {}, f"not known of {role} images")
    return truth.file_properties


def _plain(convention: Convention) -> dict[str, Agreement]:
    return {
        part: Agreement(acc=found.acc, nmi=found.nmi, ari=found.ari)
        for part, found in convention._asdict().items()
    }


def _grouped(joined: Joined, metadata: PredictionMetadata, truth: Split) -> GroupedCells:
    shape = (len(truth.known) + len(truth.novel), len(metadata.classes))
    return GroupedCells.count(joined.groups, joined.true, joined.predicted, shape)


def _intervals(counted: GroupedCells, num_known: int) -> Intervals:
    draws = bootstrap(counted, num_known)
    ends = map(interval, draws.T)
    return Intervals(
        level=LEVEL,
        num_groups=counted.num_groups,
        of={name: found and list(found) for name, found in zip(MEASURES, ends, strict=True)},
    )


def _num_novel(table: np.ndarray, match: np.ndarray, num_known: int) -> NumNovel:
    """Count the novel classes, and those of which a novel index holds more than half."""
    images = table[num_known:].sum(axis=1)
    held = matched_images(table, match)[num_known:]
    found = (match[num_known:] >= num_known) & (2 * held > images)
    return NumNovel(true=int((images > 0).sum()), discovered=int(found.sum()))


def _calibration(confidence: np.ndarray, correct: np.ndarray) -> Calibration:
    found = calibration(confidence, correct)
    return Calibration(
        mean_confidence=found.mean_confidence,
        accuracy=found.accuracy,
        ece=found.ece,
        bins=[cast(Bin, asdict(each)) for each in found.bins],
    )


def _ratio_score(joined: Joined, num_known: int) -> RatioScore:
    right, novel = joined.known_index == joined.true, joined.true >= num_known
    logs = joined.known_log_ratio * np.log(10)
    both = right.any() and not right.all()
    return RatioScore(
        cllr=cllr(logs[right], logs[~right]) if both else None,
        right=int(right.sum()),
        wrong=int((~right).sum()),
        misled=float((logs[novel] > np.log(STRONG)).mean()) if novel.any() else None,
    )


def _per_class(
    table: np.ndarray, names: tuple[str, ...], metadata: PredictionMetadata, found: Conventions
) -> list[ClassScore]:
    images = table.sum(axis=1)
    by_paper = matched_images(table, found.paper_match)
    by_gcd, match = matched_images(table, found.gcd_match), found.gcd_match
    return [
        {
            "class": names[i],
            "novel": i >= metadata.num_known,
            "num_images": int(images[i]),
            "acc_paper": float(by_paper[i] / images[i]),
            "acc_gcd_v2": float(by_gcd[i] / images[i]),
            "matched_to": metadata.classes[match[i]] if match[i] >= 0 else None,
        }
        for i in np.flatnonzero(images).tolist()
    ]


def _confusion(table: np.ndarray, names: tuple[str, ...], predicted: Sequence[str]) -> Confusion:
    rows, columns = np.flatnonzero(table.sum(axis=1)), np.flatnonzero(table.sum(axis=0))
    part = table if table.shape == (len(rows), len(columns)) else table[np.ix_(rows, columns)]
    return Confusion(
        rows=[names[i] for i in rows],
        columns=[predicted[i] for i in columns.tolist()],
        counts=part.tolist(),
    )


def _integers(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(values).astype(np.int64)
