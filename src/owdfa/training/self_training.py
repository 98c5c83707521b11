"""Rounds of training: what an earlier run predicts with confidence becomes labels of the next."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from owdfa.devices import find_device
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.records.split import TrainingRows
from owdfa.records.training import UNLABELLED
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.training.evaluation import evaluate


def check_pseudo_labels(settings: RunSettings) -> None:
    """Check that a training which wants pseudo-labels can have them.

    Raises:
        UserError: No training comes before it, or its number of classes may change.
    """
    if settings.pseudo_label_confidence is None:
        return
    if not settings.stages and not Run.exists(Path(settings.backbone.weights)):
        raise UserError(
            "pseudo_label_confidence: such labels are predictions of an earlier run; put a stage"
            " before, or name the folder of a run with --weights"
        )
    if settings.classes == "auto":
        raise UserError(
            "pseudo_label_confidence: such labels number the novel classes too; give the number of"
            " all classes with --classes"
        )


def add_pseudo_labels(
    rows: TrainingRows, settings: RunSettings, store: Store, num_active: int
) -> TrainingRows:
    """Label unlabelled images with what the run of the first weights predicts confidently.

    Args:
        rows: The images to train on, with the labels that may be seen.
        settings: ``backbone.weights`` is the folder of the earlier run; from
            ``pseudo_label_confidence`` on a prediction becomes a label.
        store: Where the crops are.
        num_active: Classes of the method that is trained on them.

    Returns:
        The same images; a pseudo-label is an index into the earlier run's classes.

    Raises:
        UserError: The earlier run has more classes than this one.
    """
    unlabelled = rows.labels == UNLABELLED
    if not unlabelled.any():
        return rows
    earlier = Run.open(Path(settings.backbone.weights))
    if earlier.metadata.num_active > num_active:
        raise UserError(
            f"{earlier.folder}: predicts {earlier.metadata.num_active} classes, which are no labels"
            f" for a method of {num_active}; train both with one --classes"
        )
    method = earlier.method().to(find_device(settings.device))
    backbone, size = method.backbone, earlier.settings.data.views.size
    ids = rows.ids if isinstance(rows.ids, pa.ChunkedArray) else pa.chunked_array([rows.ids])
    probabilities = evaluate(
        method,
        store,
        ids.filter(pa.array(unlabelled)),
        PlainView(size, backbone.mean, backbone.std),
        settings,
    ).probabilities
    assert settings.pseudo_label_confidence is not None
    trusted = probabilities.max(axis=1) >= settings.pseudo_label_confidence
    labels = rows.labels.copy()
    labels[np.flatnonzero(unlabelled)[trusted]] = probabilities.argmax(axis=1)[trusted]
    return TrainingRows(rows.ids, labels)
