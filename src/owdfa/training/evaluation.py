"""A method in training, applied to images of the store: in evaluation mode, without gradients."""

from collections.abc import Sequence

import numpy as np
import torch

from owdfa.images.store import Store
from owdfa.loading.batches import plain_batches
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.runs.settings import RunSettings
from owdfa.training.devices import autocast


@torch.inference_mode()
def evaluate(
    method: Method, store: Store, ids: Sequence[str], view: PlainView, settings: RunSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Compute probabilities and embeddings of images.

    Args:
        method: On its device.
        store: Where the crops are.
        ids: Which of them.
        view: What the network is shown of a crop.
        settings: Say the precision and the number of images at a time.

    Returns:
        (N, C) and (N, D), both float32.
    """
    device = next(method.parameters()).device
    found = []
    was_training = method.training
    method.eval()
    try:
        for batch in plain_batches(store, ids, view, batch_size=settings.data.batch_size):
            with autocast(device, settings.precision):
                outputs = method(batch.images.to(device))
            probabilities = outputs.logits.float().softmax(dim=1)
            found.append((probabilities.cpu().numpy(), outputs.embedding.float().cpu().numpy()))
    finally:
        method.train(was_training)
    probabilities, embeddings = zip(*found, strict=True)
    return np.concatenate(probabilities), np.concatenate(embeddings)
