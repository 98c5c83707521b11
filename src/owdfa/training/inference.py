"""Run a method over images without training it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
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
from owdfa.training.memory import keep_memory

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
        batches: The images.
        fabric: Gives device and precision.
    """
    was_training = method.training
    method.eval()
    try:
        for batch in batches:
            outputs = _forward(method, batch.images, fabric)
            yield Answers(batch.positions, outputs.logits.softmax(dim=1), outputs.embedding)
    finally:
        method.train(was_training)


def predictor_of(run: Run) -> Predictor:
    """What predicts by the checkpoint that ``run`` selected.

    Raises:
        UserError: There is no such checkpoint.
    """
    facts, note = run.facts, checkpoint.read_note(run.checkpoint)
    basis = PredictionBasis(
        run=str(run.folder),
        images="",
        method=facts.method,
        classes=class_names(facts.known, note.num_live),
        num_known=facts.num_known,
        split_digest=facts.split_digest,
        selection=facts.selection,
        weights_digest=note.weights,
        seed=facts.seed,
        commit=facts.commit,
    )
    return Predictor(
        place=run.folder,
        basis=basis,
        faces=facts.faces,
        store_size=facts.store_size,
        split=None if facts.split is None else Path(facts.split),
        store=None if facts.store is None else Path(facts.store),
        network=lambda: _network(run),
    )


@contextmanager
def _network(run: Run) -> Iterator[Network]:
    """The run's network: a thread a call on a CPU, one call at a time on a GPU.

    Raises:
        UserError: The checkpoint is damaged, or the run's device is not here.
    """
    facts, settings = run.facts, run.settings
    fabric = start(settings.device, settings.precision)
    on_cpu = fabric.device.type == "cpu"
    if on_cpu:
        keep_memory()
    method = run.method()
    if on_cpu and settings.precision == "32-true":  # in less, it would be more than rounding
        method.backbone.network = folded(method.backbone.network)
    method = fabric.to_device(method)
    view = PlainView(facts.image_size, facts.mean, facts.std)
    turn = nullcontext() if on_cpu else Lock()

    @torch.inference_mode()
    def answer_one(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(1)  # of this thread, whatever others have
        images = view(crops)
        with turn:
            outputs = _forward(method, images, fabric)
        return outputs.logits.softmax(dim=1).numpy(), outputs.embedding.numpy()

    # Several calls with a thread each beat one call with several: none waits for another.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch_size = settings.data.batch_size
    try:
        with deterministic():
            yield Network(answer_one, min(batch_size, _FEW) if on_cpu else batch_size)
    finally:
        torch.set_num_threads(num_threads)


def _forward(method: Method, images: Tensor, fabric: Fabric) -> Outputs:
    """Logits and embedding of a batch, float32, on the CPU."""
    with fabric.autocast():
        outputs = method(images.to(fabric.device, non_blocking=True))
    return Outputs(outputs.logits.float().cpu(), outputs.embedding.float().cpu())
