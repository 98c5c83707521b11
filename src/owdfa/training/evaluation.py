"""A method in training, applied to images of the store: in evaluation mode, without gradients."""

from collections.abc import Sequence

import numpy as np

from owdfa.images.store import Store
from owdfa.inference.network import TorchSession
from owdfa.inference.session import BatchOutput
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.runs.settings import RunSettings


def evaluate(
    method: Method, store: Store, ids: Sequence[str], view: PlainView, settings: RunSettings
) -> BatchOutput:
    """Compute probabilities and embeddings of images, as prediction does.

    Args:
        method: On its device.
        store: Where the crops are.
        ids: Which of them.
        view: What the network is shown of a crop.
        settings: Say the precision and the number of images at a time.

    Returns:
        (N, C) and (N, D), both float32.
    """
    rows, size = store.rows(ids), settings.data.batch_size
    session = TorchSession(method, view, settings.precision, size)
    was_training = method.training
    method.eval()
    try:
        found = [
            session.predict_batch(store.crops(rows[first : first + size]))
            for first in range(0, len(rows), size)
        ]
    finally:
        method.train(was_training)
    return BatchOutput(*(np.concatenate(each) for each in zip(*found, strict=True)))
