"""Calibrate a run by the images of its split's validation part: groups it did not learn from."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.calibration.fit import CalibrateOptions, HeldOut, Names, calibrate
from owdfa.errors import UserError
from owdfa.images.workers import num_processes, threaded_map
from owdfa.inference.inputs import Inputs, Stored, find_images
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress, no_progress
from owdfa.records.calibration import Calibration
from owdfa.records.manifest import Manifest
from owdfa.records.rows import codes, indices_of
from owdfa.records.split import Split
from owdfa.runs.data import find_split

if TYPE_CHECKING:
    from owdfa.runs.run import Run

_REAL = "real"
_ROLE = "validation"


def calibrate_run(
    run: Path,
    options: CalibrateOptions,
    split: Path | None = None,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Calibration:
    """Calibrate a run, and write ``calibration.json`` into its folder.

    Args:
        run: The run folder.
        options: What is asked of verdicts.
        split: Folder of the split; None to look for it.
        store: Folder of its crops; None to look for it.
        on_progress: Called with (images done, images in all).

    Raises:
        UserError: The split has no validation part, or the images cannot be read.
    """
    predictor = Predictor.open(run, num_callers=num_processes(0))
    if predictor.run is None:
        raise UserError(f"{run}: is an exported file; calibrate its run, and export that again")
    folder = find_split(run, predictor.run, split)
    data = Split.read(folder)
    if not data.num_images()[_ROLE]:
        raise UserError(f"{folder}: {no_validation(data)}")
    inputs = find_images(predictor, f"split:{_ROLE}", folder, store)
    rows, images = data.with_role(_ROLE), _manifest_rows(data, folder)
    held_out = HeldOut(
        probabilities=probabilities_of(predictor, inputs, on_progress),
        labels=data.validation_rows().labels,
        groups=codes(pc.coalesce(rows["group"], rows["id"])),
        no_face=None if predictor.faces == "none" else _no_face(rows["id"], images),
    )
    names, notes = _names(predictor, data, images, options)
    notes += _notes(predictor, data)
    made = calibrate(held_out, names, options, predictor.provenance, notes)
    made.write(run)
    return made


def calibrate_trained(run: "Run", split: Path, store: Path | None) -> None:
    """Calibrate a run that was just trained, where its split has a validation part.

    Args:
        run: The run; one that is calibrated already is left as it is.
        split: Folder of the split.
        store: Folder of its crops; None to look for it.
    """
    weights = run.metadata.provenance.weights_digest
    if Split.read(split, ("id", "role")).num_images()[_ROLE]:
        try:
            found = Calibration.read(run.folder)
        except UserError:
            found = None
        if found is None or found.provenance.weights_digest != weights:
            calibrate_run(run.folder, CalibrateOptions(), split, store)


def no_validation(data: Split) -> str:
    """What to say of a split that holds nothing back."""
    return (
        "holds no validation images, so nothing can be calibrated; make another with owdfa split"
        f" {data.basis.manifest} --validation 0.2, and train on it (owdfa run has the option too)"
    )


def probabilities_of(
    predictor: Predictor, inputs: Inputs, on_progress: OnProgress = no_progress
) -> np.ndarray:
    """Probabilities of all classes: (N, C) float32, in the order of the images."""
    if isinstance(inputs, Stored) and inputs.features is not None:
        predictor = predictor.by_features()
    total, size = len(inputs.ids), predictor.session.batch_size
    parts = (range(first, min(first + size, total)) for first in range(0, total, size))

    def one(part: range) -> np.ndarray:
        crops = inputs.read(part)
        given = crops.pixels if crops.features is None else crops.features
        return predictor.predict_batch(given).probabilities

    found = []
    for each in threaded_map(one, parts, num_processes(0)):
        found.append(each)
        on_progress(sum(map(len, found)), total)
    return np.concatenate(found)


def _names(
    predictor: Predictor, data: Split, images: pa.Table | None, options: CalibrateOptions
) -> tuple[Names, list[str]]:
    """Families of the known classes, and which are real: as the manifest or the user says."""
    families, notes = _families(images), []
    if images is None:
        notes.append(f"{data.basis.manifest} is not there: the families of classes are unknown")
    real = options.real
    if real is None:
        real = tuple(name for name in data.known if families.get(name, name).casefold() == _REAL)
    elif unknown := [name for name in real if name not in data.known]:
        raise UserError(
            f"--real {unknown[0]}: is none of the known classes ({', '.join(data.known)})"
        )
    if not real:
        notes.append(
            "no known class is of real images, so the budget is of known classes named wrongly,"
            " and nothing is said to be real; name one with owdfa calibrate --real"
        )
    known = {name: families[name] for name in data.known if name in families}
    return Names(predictor.classes, predictor.num_known, real, known), notes


def _manifest_rows(data: Split, folder: Path) -> pa.Table | None:
    """The images of a split's manifest; None where that is not found."""
    for place in (Path(data.basis.manifest), folder.parent / Path(data.basis.manifest).name):
        if place.is_file():
            return Manifest.read(place, ("id", "class", "family", "face")).table
    return None


def _families(images: pa.Table | None) -> dict[str, str]:
    """Family of each class that has one."""
    if images is None:
        return {}
    pairs = images.group_by(["class", "family"]).aggregate([]).to_pylist()
    return {each["class"]: each["family"] for each in pairs if each["class"] and each["family"]}


def _no_face(ids: pa.ChunkedArray, images: pa.Table | None) -> float:
    """The share of images in which the detector found no face."""
    if images is None:
        return 0.0
    rows = indices_of(ids, images["id"])
    found = images["face"].take(pa.array(rows[rows >= 0]))
    return int(found.null_count) / max(len(found), 1)


def _notes(predictor: Predictor, data: Split) -> list[str]:
    """What a reader should know of the images held back."""
    notes = []
    if predictor.provenance.selection == _ROLE:
        notes.append("the same images chose the checkpoint, so they look a little better")
    groups = pc.unique(data.with_role(_ROLE)["group"]).drop_null()
    seen = pc.unique(data.with_role("labelled", "unlabelled")["group"])
    if shared := pc.sum(pc.is_in(groups, seen)).as_py():
        notes.append(
            f"{shared} of {len(groups)} held-out groups have images of other classes in the"
            " training, so they are not wholly new to the network"
        )
    return notes
