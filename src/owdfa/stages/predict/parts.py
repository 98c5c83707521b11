"""From images to rows of predictions, a part at a time: the same on one machine and on many."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from owdfa.images.workers import threaded_map
from owdfa.inference.inputs import Inputs
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import BatchOutput, Session
from owdfa.metrics.likelihood_ratios import Evidence
from owdfa.records.predictions import SCHEMA, PredictionMetadata

_TOP = 5  # likeliest classes that are kept
_EVIDENCE = ("log_ratio", "known_log_ratio", "known_index", "unseen_log_ratio")


class Part(NamedTuple):
    """What is said of some of the images."""

    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    rows: pa.RecordBatch | None  # of ``SCHEMA``; None where none of them can be used
    errors: dict[int, str]  # position -> why that image cannot be used


def metadata_of(predictor: Predictor, images: str, digest: str | None = None) -> PredictionMetadata:
    """What predictions rest on.

    Args:
        predictor: What predicts.
        images: What the images are called.
        digest: Of the split that they are of; None for files.
    """
    return PredictionMetadata(
        run=str(predictor.source),
        images=images,
        images_digest=digest,
        classes=predictor.classes,
        num_known=predictor.num_known,
        engine=predictor.session.engine,
        provenance=predictor.provenance,
        types_found=predictor.types_found,
    )


def predict_parts(
    session: Session,
    inputs: Inputs,
    metadata: PredictionMetadata,
    parts: Iterable[range],
    threads: int,
) -> Iterator[Part]:
    """Read images and predict them; parts come in order.

    Args:
        session: The network.
        inputs: The images.
        metadata: Of the predictions.
        parts: Positions of the images that are read and predicted together.
        threads: How many parts are worked on at the same time.
    """
    one = partial(_predict_part, session, inputs, metadata)
    yield from threaded_map(one, parts, threads)


def _predict_part(
    session: Session, inputs: Inputs, metadata: PredictionMetadata, positions: range
) -> Part:
    """Read some images and predict them: what a thread does."""
    crops = inputs.read(positions)
    if not len(crops.positions):
        return Part(crops.positions, None, crops.errors)
    given = crops.pixels if crops.features is None else crops.features
    output = session.predict_batch(given)
    rows = _rows([inputs.ids[i] for i in crops.positions], output, metadata)
    return Part(crops.positions, rows, crops.errors)


def _rows(ids: list[str], output: BatchOutput, metadata: PredictionMetadata) -> pa.RecordBatch:
    """Rows of the predictions for some images."""
    # A stable sort: of equals the lower index comes first, as in argmax.
    index = np.argsort(-output.probabilities, axis=1, kind="stable")[:, :_TOP]
    probability = np.take_along_axis(output.probabilities, index, axis=1)
    best = index[:, 0]
    says = output.evidence(metadata.num_known)
    columns = {
        "id": ids,
        "prediction": [metadata.classes[i] for i in best],
        "index": best.astype(np.int32),
        "confidence": probability[:, 0],
        "novel": best >= metadata.num_known,
        "known_probability": output.probabilities[:, : metadata.num_known].max(axis=1),
        "top_index": _lists(index.astype(np.int32)),
        "top_probability": _lists(probability),
        **_evidence(says, len(ids)),
        "embedding": _lists(output.embedding),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def _evidence(says: Evidence | None, num: int) -> dict[str, Any]:
    """Columns of the evidence; null without."""
    if says is None:
        return dict.fromkeys(_EVIDENCE, [None] * num)
    return dict(zip(_EVIDENCE, says, strict=True))


def _lists(values: np.ndarray) -> pa.ListArray:
    """A matrix as one list a row."""
    height, width = values.shape
    offsets = np.arange(height + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
