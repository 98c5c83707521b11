"""Export: a trained network as one ONNX file that says the same, and needs no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from owdfa.errors import UserError
from owdfa.files import check_replaceable
from owdfa.inference.inputs import Inputs, find_images
from owdfa.inference.onnx_file import ModelNote, is_model
from owdfa.inference.onnx_graph import NUM_CHECKED, CheckedCrops, write_model
from owdfa.inference.predictor import Predictor
from owdfa.runs.run import Run


def export(
    run: Path,
    output: Path,
    *,
    check: str | Path | Sequence[Path] | None = None,
    split: Path | None = None,
    store: Path | None = None,
) -> ModelNote:
    """Write the run's selected network to ``output``, where it says the same on real images.

    Args:
        run: Folder of the run.
        output: The file to write, e.g. ``model.onnx``.
        check: A folder of images, files, or ``"split:test"``, to compare both on; None for the
            test images of the run's split, or its validation images.
        split: Folder of the split, where it has moved.
        store: Folder of its crops, where they have moved.

    Returns:
        What the file says of itself.

    Raises:
        UserError: The run or the images cannot be read, the method cannot be exported, or the
            graph says something else, or ``output`` is something other than such a file;
            nothing is written then.
    """
    check_replaceable(output, is_model)
    trained = Run.open(run)
    inputs = _inputs(Predictor.open(run), check, split, store)
    return write_model(trained, output, _crops(inputs))


def _inputs(
    predictor: Predictor,
    check: str | Path | Sequence[Path] | None,
    split: Path | None,
    store: Path | None,
) -> Inputs:
    """The images to compare on."""
    if check is not None:
        return find_images(predictor, check, split, store)
    try:
        return find_images(predictor, "split:test", split, store)
    except UserError as error:
        reason = error
    try:
        return find_images(predictor, "split:validation", split, store)
    except UserError:
        raise UserError(f"{reason}; or name images to compare on with --check") from None


def _crops(inputs: Inputs) -> CheckedCrops:
    """Crops of some of the images, evenly spread over all."""
    places = np.unique(np.linspace(0, len(inputs.ids) - 1, NUM_CHECKED).astype(int))
    read = [inputs.read(range(place, place + 1)) for place in places]
    crops = np.concatenate([each.pixels for each in read])
    if not len(crops):
        place, reason = next(iter(read[0].errors.items()))
        raise UserError(
            f"{inputs.name}: none of {len(read)} images can be used; first"
            f" {inputs.ids[place]}: {reason}"
        )
    name = inputs.name  # without the folders of this machine
    return CheckedCrops(name if name.startswith("split:") else Path(name).name, crops)
