"""A method in training, applied to images of the store: in evaluation mode, without gradients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from owdfa.devices import autocast
from owdfa.images.store import Store
from owdfa.inference.frozen_features import StoredImages, digest_for
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
        (N, C), (N, D) and (N, C) or (N, 0), all float32.
    """
    images, size = _images(method, store, ids, view), settings.data.batch_size
    session = TorchSession(method, view, settings.precision, size)
    with _evaluation_mode(method):
        found = [
            session.predict_images(images[first : first + size])
            for first in range(0, len(images), size)
        ]
    return BatchOutput(*(np.concatenate(each) for each in zip(*found, strict=True)))


@torch.inference_mode()
def fit_inputs(
    method: Method, store: Store, ids: Sequence[str], view: PlainView, settings: RunSettings
) -> np.ndarray:
    """Compute what ``Method.finish`` is given of images, with the arguments of ``evaluate``.

    Returns:
        (N, D) float32.
    """
    images, size = _images(method, store, ids, view), settings.data.batch_size
    device, found = method.backbone.scale.device, []
    with _evaluation_mode(method), autocast(device, settings.precision):
        for first in range(0, len(images), size):
            made = method.fit_input(images[first : first + size].to(device))
            found.append(made.float().cpu().numpy())
    return np.concatenate(found)


def _images(method: Method, store: Store, ids: Sequence[str], view: PlainView) -> StoredImages:
    return StoredImages.of(store, ids, view, digest_for(method, view))


@contextmanager
def _evaluation_mode(method: Method) -> Iterator[None]:
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)
