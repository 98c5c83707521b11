"""Run a method over images without training it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.predictions import PredictionBasis, class_names
from owdfa.records.training import Outputs
from owdfa.runs import checkpoint
from owdfa.runs.computing import AS_TOLD, Computing
from owdfa.runs.predictor import FEW, Network, Predictor
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.training.devices import algorithms, autocast, find_device


def predictor_of(run: Run, computing: Computing = AS_TOLD) -> Predictor:
    """What predicts by the checkpoint that ``run`` selected.

    Args:
        run: A trained run.
        computing: What to compute on and in, where that is not what the run was told.

    Raises:
        UserError: There is no such checkpoint.
    """
    facts, note = run.facts, checkpoint.read_note(run.checkpoint)
    settings = run.settings.model_copy(update=computing.model_dump(exclude_none=True))
    basis = PredictionBasis(
        run=str(run.folder),
        images="",
        method=facts.method,
        classes=class_names(facts.known, note.num_active),
        num_known=facts.num_known,
        split_digest=facts.split_digest,
        selection=facts.selection,
        weights_digest=note.weights,
        seed=facts.seed,
        commit=facts.commit,
        precision=settings.precision,
    )
    return Predictor(
        place=run.folder,
        basis=basis,
        faces=facts.faces,
        store_size=facts.store_size,
        split=None if facts.split is None else Path(facts.split),
        store=None if facts.store is None else Path(facts.store),
        network=lambda: _network(run, settings),
    )


@contextmanager
def _network(run: Run, settings: RunSettings) -> Iterator[Network]:
    """The run's network: a thread a call on a CPU, one call at a time on a GPU.

    Raises:
        UserError: The checkpoint is damaged, or the device is not here.
    """
    facts = run.facts
    device = find_device(settings.device)
    on_cpu = device.type == "cpu"
    method = run.method().to(device)
    view = PlainView(facts.image_size, facts.mean, facts.std)
    turn = nullcontext() if on_cpu else Lock()

    @torch.inference_mode()
    def answer_one(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(1)  # of this thread, whatever others have
        images = view(crops)
        with turn, autocast(device, settings.precision):
            outputs = _forward(method, images, device)
        return outputs.logits.softmax(dim=1).numpy(), outputs.embedding.numpy()

    # Several calls with a thread each beat one call with several: none waits for another.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch_size = settings.data.batch_size
    try:
        # One thread gives the same bits anyway; on a CPU asking for them would take two seconds.
        with nullcontext() if on_cpu else algorithms(deterministic=True):
            yield Network(answer_one, min(batch_size, FEW) if on_cpu else batch_size)
    finally:
        torch.set_num_threads(num_threads)


def _forward(method: Method, images: Tensor, device: torch.device) -> Outputs:
    """Logits and embedding of a batch, float32, on the CPU."""
    outputs = method(images.to(device, non_blocking=True))
    return Outputs(outputs.logits.float().cpu(), outputs.embedding.float().cpu())
