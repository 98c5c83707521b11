"""Run a method over images without training it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from owdfa.images.views import PlainView
from owdfa.loader import PlainBatch
from owdfa.methods.base import Method
from owdfa.records.predictions import PredictionBasis, class_names
from owdfa.records.training import Outputs
from owdfa.runs import checkpoint
from owdfa.runs.predictor import Network, Predictor
from owdfa.runs.run import Run
from owdfa.training.devices import deterministic, start
from owdfa.training.folding import folded

_FEW = 8  # crops at a time on a CPU: their maps stay in its caches


class Answers(NamedTuple):
    """What a method says of the images of one batch."""

    positions: np.ndarray  # (B,) int64: which of the images that were asked for
    probabilities: Tensor  # (B, C) float32, on the CPU; temperature 1
    embedding: Tensor  # (B, D) float32, on the CPU


@torch.inference_mode()
def answer(method: Method, batches: Iterable[PlainBatch], fabric: Fabric) -> Iterator[Answers]:
    """Go through ``batches``; the method is in evaluation mode meanwhile.

    Args:
        method: On ``fabric``'s device.
        batches: Images, and those that cannot be read; a batch may hold none.
        fabric: Gives device and precision.
    """
    was_training = method.training
    method.eval()
    try:
        for batch in batches:
            if len(batch.positions) == 0:
                continue
            outputs = _forward(method, batch.images, fabric)
            yield Answers(batch.positions, outputs.logits.softmax(dim=1), outputs.embedding)
    finally:
        method.train(was_training)


def predictor_of(run: Run) -> Predictor:
    """What predicts by the checkpoint that ``run`` selected.

    Raises:
        UserError: The checkpoint is damaged, or the run's device is not here.
    """
    facts = run.facts
    fabric = start(run.settings.device, run.settings.precision)
    method = run.method()
    on_cpu = fabric.device.type == "cpu"
    if on_cpu and run.settings.precision == "32-true":  # in less, it would be more than rounding
        method.backbone.network = folded(method.backbone.network)
    basis = PredictionBasis(
        run=str(run.folder),
        images="",
        method=facts.method,
        classes=class_names(facts.known, method.num_live),
        num_known=facts.num_known,
        split_digest=facts.split_digest,
        selection=facts.selection,
        weights_digest=checkpoint.read_note(run.checkpoint).weights,
        seed=facts.seed,
        commit=facts.commit,
    )
    batch_size = run.settings.data.batch_size
    view = PlainView(facts.image_size, facts.mean, facts.std)
    return Predictor(
        place=run.folder,
        basis=basis,
        faces=facts.faces,
        store_size=facts.store_size,
        split=None if facts.split is None else Path(facts.split),
        store=None if facts.store is None else Path(facts.store),
        batch_size=min(batch_size, _FEW) if on_cpu else batch_size,
        network=lambda: _network(method, view, fabric),
    )


@contextmanager
def _network(method: Method, view: PlainView, fabric: Fabric) -> Iterator[Network]:
    """``method`` as a function of crops: a thread a call on a CPU, one call at a time on a GPU."""
    method = fabric.to_device(method).eval()
    turn = nullcontext() if fabric.device.type == "cpu" else Lock()

    @torch.inference_mode()
    def network(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(1)  # of this thread, whatever others have
        images = view(crops)
        with turn:
            outputs = _forward(method, images, fabric)
        return outputs.logits.softmax(dim=1).numpy(), outputs.embedding.numpy()

    # Several calls with a thread each beat one call with several: none waits for another.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with deterministic():
            yield network
    finally:
        torch.set_num_threads(num_threads)


def _forward(method: Method, images: Tensor, fabric: Fabric) -> Outputs:
    """Logits and embedding of a batch, float32, on the CPU."""
    with fabric.autocast():
        outputs = method(images.to(fabric.device, non_blocking=True))
    return Outputs(outputs.logits.float().cpu(), outputs.embedding.float().cpu())
