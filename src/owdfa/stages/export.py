"""Export: a trained network as one ONNX file that says the same, and needs no torch."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from owdfa.errors import UserError
from owdfa.files import atomic, check_replaceable
from owdfa.images.decode import DECODER
from owdfa.images.faces import ENLARGE
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.runs.bundle import (
    INPUT,
    SCHEMA,
    Note,
    Parity,
    is_bundle,
    metadata,
    require,
    seal,
    start_session,
)
from owdfa.runs.inputs import Inputs, find_images
from owdfa.runs.predictor import Predictor
from owdfa.runs.run import Run
from owdfa.training.graph import Graph, to_onnx
from owdfa.training.inference import predictor_of

BOUND = 1e-4
"""How far a probability, or an embedding relative to the largest, may be from the network's."""

_NUM_CHECKED = 64  # images
_BATCH = 8
_TINY = 1e-30  # an embedding of zeros has no scale
_CROP_RULE = (
    "first frame, turned upright by its EXIF orientation, RGB, transparency over white, no colour"
    " profile; cut to the box of the surest face, enlarged `enlarge` times about its centre and"
    " clipped to the image, or left whole where `faces` is none or finds none; resized to"
    " `store_size` x `store_size` by Pillow, bilinear, whatever its proportions"
)


def export(
    run: Path,
    output: Path,
    *,
    check: str | Path | Sequence[Path] | None = None,
    split: Path | None = None,
) -> Note:
    """Write the run's selected network to ``output``, where it says the same on real images.

    Args:
        run: Folder of the run.
        output: The file to write, e.g. ``model.onnx``.
        check: A folder of images, files, or ``"split:test"``, to compare both on; None for the
            test images of the run's split, or its validation images.
        split: Folder of the split, where it has moved.

    Returns:
        What the file says of itself.

    Raises:
        UserError: The run or the images cannot be read, the method cannot be exported, or the
            graph says something else, or ``output`` is something other than such a file;
            nothing is written then.
    """
    check_replaceable(output, is_bundle)
    onnx = require("onnx")
    require("onnxscript")
    trained = Run.open(run)
    facts = trained.facts
    method = trained.method()
    predictor = predictor_of(trained)
    inputs = _inputs(predictor, check, split)
    crops = _crops(inputs)
    view = PlainView(facts.image_size, facts.mean, facts.std)
    model = to_onnx(
        Graph(method, view, facts.store_size).eval(), np.resize(crops, (2, *crops.shape[1:]))
    )
    parity = _parity(model.SerializeToString(), method, view, crops, inputs.name)
    note = _note(trained, predictor, parity)
    onnx.helper.set_model_props(model, metadata(note))
    content = seal(model.SerializeToString())
    with atomic(output, is_bundle) as temporary:
        temporary.write_bytes(content)
    return note


def _inputs(
    predictor: Predictor, check: str | Path | Sequence[Path] | None, split: Path | None
) -> Inputs:
    """The images to compare on."""
    if check is not None:
        return find_images(predictor, check, split)
    try:
        return find_images(predictor, "split:test", split)
    except UserError as error:
        reason = error
    try:
        return find_images(predictor, "split:validation", split)
    except UserError:
        raise UserError(f"{reason}; or name images to compare on with --check") from None


def _crops(inputs: Inputs) -> np.ndarray:
    """Crops of some of the images, evenly spread over all: (B, S, S, 3)."""
    places = np.unique(np.linspace(0, len(inputs.ids) - 1, _NUM_CHECKED).astype(int))
    read = [inputs.read(range(place, place + 1)) for place in places]
    crops = np.concatenate([each.pixels for each in read])
    if not len(crops):
        place, reason = next(iter(read[0].errors.items()))
        raise UserError(
            f"{inputs.name}: none of {len(read)} images can be used; first"
            f" {inputs.ids[place]}: {reason}"
        )
    return crops


def _parity(
    content: bytes, method: Method, view: PlainView, crops: np.ndarray, name: str
) -> Parity:
    """Compare the graph with the network.

    Raises:
        UserError: They differ by more than ``BOUND``.
    """
    session = start_session(content, "the graph")
    differences = []  # a probability's, an embedding's, and the embedding itself; a row a batch
    for first in range(0, len(crops), _BATCH):
        some = crops[first : first + _BATCH]
        found, features = session.run(["probabilities", "embedding"], {INPUT: some})
        with torch.inference_mode():
            outputs = method(view(some))
        expected, embedding = outputs.logits.softmax(dim=1).numpy(), outputs.embedding.numpy()
        pairs = (found - expected, features - embedding, embedding)
        differences.append([np.abs(each).max() for each in pairs])
    # NumPy's, since Python's max passes over what is not a number.
    probability, feature, scale = np.max(differences, axis=0).tolist()
    parity = Parity(
        images=name if name.startswith("split:") else Path(name).name,  # no paths of this machine
        num_images=len(crops),
        probabilities=probability,
        embedding=feature / max(scale, _TINY),
        bound=BOUND,
    )
    # Not "greater than": what is not a number must not pass.
    if not (parity.probabilities <= BOUND and parity.embedding <= BOUND):
        raise UserError(
            f"{name}: the exported graph differs from the network by {parity.probabilities:.1e} in"
            f" a probability and {parity.embedding:.1e} in an embedding, more than {BOUND:g}, so"
            " nothing is written; predict with the run folder"
        )
    return parity


def _note(run: Run, predictor: Predictor, parity: Parity) -> Note:
    """What the file says of itself."""
    facts, basis = run.facts, predictor.basis
    tools = {f"export {name}": version(name) for name in ("torch", "onnx", "onnxruntime")}
    return Note(
        schema=SCHEMA,
        classes=tuple(basis.classes),
        num_known=basis.num_known,
        crop_rule=_CROP_RULE,
        faces=facts.faces,
        enlarge=ENLARGE,
        store_size=facts.store_size,
        decoder=DECODER,
        image_size=facts.image_size,
        mean=facts.mean,
        std=facts.std,
        method=facts.method,
        backbone=facts.backbone,
        split_digest=facts.split_digest,
        selection=basis.selection,
        weights_digest=basis.weights_digest,
        seed=basis.seed,
        commit=basis.commit,
        environment={**facts.environment, **tools},
        parity=parity,
    )
